"""Damaged logs, settings and summaries: what can be read is kept, and what cannot is said."""

import json

import pytest

from nas_tf.base import files
from nas_tf.base.errors import UserError
from nas_tf.base.metric_log import METRICS_FILE, MetricLog, read_metrics
from nas_tf.base.run_folder import open_stage

LINES = [{"epoch": epoch, "loss": float(epoch)} for epoch in range(4)]


def _write(folder, *lines: bytes):
    (folder / METRICS_FILE).write_bytes(b"".join(lines))


def _whole(*epochs) -> bytes:
    return b"".join(json.dumps(LINES[epoch]).encode() + b"\n" for epoch in epochs)


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe\x00garbage\n",
        b'{"epoch": 2, "lo\n',
        b"[1, 2]\n",
        b"null\n",
        b'{"loss": 1.0}\n',
        b'{"epoch": "2"}\n',
        b'{"epoch": true}\n',
        b'{"epoch": -1}\n',
        b'{"epoch": 0, "loss": 7.0}\n',
        b"[" * 100_000 + b"\n",
    ],
    ids=lambda damage: repr(damage[:20]),
)
def test_other_lines_are_kept_and_the_file_is_set_aside(tmp_path, capsys, damage):
    content = _whole(0, 1) + damage + _whole(3)
    _write(tmp_path, content)
    assert read_metrics(tmp_path) == [LINES[0], LINES[1], LINES[3]]
    log = MetricLog(tmp_path, resume_epoch=4)
    said = capsys.readouterr().err
    assert f"{METRICS_FILE} is damaged; 3 lines of it can be read and are kept, 1 cannot" in said
    assert (tmp_path / "metrics.damaged.jsonl").read_bytes() == content
    log.write(4, loss=9.0)
    assert read_metrics(tmp_path) == [LINES[0], LINES[1], LINES[3], {"epoch": 4, "loss": 9.0}]
    # A second damage does not overwrite what was kept of the first.
    _write(tmp_path, _whole(0), damage)
    MetricLog(tmp_path, resume_epoch=4)
    assert (tmp_path / "metrics.damaged.jsonl").read_bytes() == content
    assert (tmp_path / "metrics.damaged-2.jsonl").read_bytes() == _whole(0) + damage


def test_what_a_kill_leaves_is_no_damage(tmp_path, capsys):
    _write(tmp_path, _whole(0, 1), b'{"epoch": 2, "lo')
    MetricLog(tmp_path, resume_epoch=2)
    assert capsys.readouterr().err == "" and [p.name for p in tmp_path.glob("*.jsonl")] == [METRICS_FILE]
    assert read_metrics(tmp_path) == LINES[:2]


def test_the_line_of_an_epoch_that_ended_unjudged_is_missed(tmp_path):
    _write(tmp_path, _whole(0, 1))
    log = MetricLog(tmp_path, resume_epoch=3)
    assert [log.lacks_epoch_before(step, 5) for step in (0, 5, 10, 12, 15)] == [
        False,
        False,
        False,
        False,
        True,
    ]
    log.write(2, loss=0.0)
    assert not log.lacks_epoch_before(15, 5)


def _stage(tmp_path, settings=None):
    return open_stage(str(tmp_path), "train", settings or {"epochs": 3})


@pytest.mark.parametrize("content", ["{}", "null", "[1]", "3", '"x"', "", "{", "\x00"])
def test_a_damaged_summary_is_no_ended_stage(tmp_path, content):
    _stage(tmp_path).summary_path.write_text(content)
    with pytest.raises(
        UserError, match="stage summary '.*train/summary.json' .*restore it from a copy, or rem"
    ):
        _stage(tmp_path).summary()
    assert (tmp_path / "train" / "summary.json").read_text() == content


@pytest.mark.parametrize("content", ["null", "[1]", "3", "", "{"])
def test_damaged_settings_are_not_called_other_settings(tmp_path, content):
    _stage(tmp_path).settings_path.write_text(content)
    with pytest.raises(UserError) as refused:
        _stage(tmp_path)
    message = str(refused.value)
    assert "stage settings" in message and "train/settings.json" in message
    assert "other settings" not in message and "use another --workdir" in message


def test_a_moved_run_s_summary_says_where_things_lie_now(tmp_path):
    old = tmp_path / "old"
    stage = open_stage(old, "train", {"asked": "/elsewhere/train/model", "epochs": 3})
    stage.model.mkdir()
    said = {
        "model": str(stage.model),
        "top1": 0.5,
        "gone": str(stage.path / "gone"),
        "asked": "/elsewhere/train/model",
        "words": "s8x2 1_3c8 train/",
    }
    stage.write_summary(said)
    assert stage.summary() == said
    old.rename(tmp_path / "new")
    moved = open_stage(tmp_path / "new", "train", {"asked": "/elsewhere/train/model", "epochs": 3})
    assert moved.summary() == said | {"model": str(tmp_path / "new" / "train" / "model")}
    assert files.read_json(moved.summary_path, "summary") == said
