"""Working time: what attempts add up to, and when it is kept."""

import json

import pytest

from nas_tf.base.clock import Clock, kept_with


def test_attempts_add_up(fake_time):
    fake_time.seconds = 50
    clock = Clock()
    fake_time.seconds = 57
    assert clock.seconds() == 7
    clock.add_earlier(100.0)
    fake_time.seconds = 60
    assert clock.seconds() == 110


def _attempt(state, fake_time, seconds, error=None):
    with kept_with(state) as clock:
        fake_time.seconds += seconds
        if error:
            raise error
        return clock.seconds()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_time_is_kept_beside_the_state_until_the_work_has_ended(tmp_path, fake_time, error):
    state = tmp_path / "table.json.partial.json"
    state.write_text("{}")
    for _ in range(2):
        with pytest.raises(error):
            _attempt(state, fake_time, 30, error)
        fake_time.seconds += 1000
    assert json.loads((tmp_path / "table.json.partial.seconds.json").read_text()) == {"seconds": 60}
    assert _attempt(state, fake_time, 5) == 65
    assert list(tmp_path.iterdir()) == [state]
    assert _attempt(state, fake_time, 5) == 5


def test_without_state_no_time_is_kept(tmp_path, fake_time):
    state = tmp_path / "state.json"
    with pytest.raises(KeyboardInterrupt):
        _attempt(state, fake_time, 30, KeyboardInterrupt)
    assert not list(tmp_path.iterdir())
    state.touch()
    with pytest.raises(KeyboardInterrupt):
        _attempt(state, fake_time, 30, KeyboardInterrupt)
    state.unlink()  # whoever starts over starts over
    assert _attempt(state, fake_time, 5) == 5


@pytest.mark.parametrize("content", ["[1]", "{}", '{"seconds": "long"}'])
def test_a_file_that_holds_something_else_counts_as_none(tmp_path, fake_time, content):
    (tmp_path / "state.json").touch()
    (tmp_path / "state.seconds.json").write_text(content)
    assert _attempt(tmp_path / "state.json", fake_time, 5) == 5
