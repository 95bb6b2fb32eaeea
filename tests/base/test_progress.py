"""Progress on a terminal and in a log file."""

import io
import math

import pytest

from nas_tf.base import progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_a_log_file_gets_only_notes():
    stream = io.StringIO()
    with progress.Progress("train", 100, stream=stream) as shown:
        for step in range(1, 51):
            shown.update(step, loss=0.5)
        shown.note("epoch 1/2", loss=0.123456)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("train: epoch 1/2, loss 0.1235, 00:0") and lines[0].endswith("left")


def test_a_terminal_gets_a_bar_with_figures():
    stream = Terminal()
    with progress.Progress("search", 10, start_step=4, stream=stream) as shown:
        shown._bar.mininterval = 0
        shown.update(7, loss=0.25)
    assert "search" in stream.getvalue() and "7/10" in stream.getvalue()
    assert "loss 0.25" in stream.getvalue()


def test_time_left_counts_from_the_resumed_step(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = progress.Progress("train", 100, start_step=40, stream=io.StringIO())
    assert math.isnan(shown.seconds_left())
    now[0] = 30.0
    shown.update(50)
    assert shown.seconds_left() == pytest.approx(150.0)  # 10 steps took 30 s, 50 are left


@pytest.mark.parametrize("seconds, text", [(5, "00:05"), (3725, "1:02:05"), (math.nan, "?")])
def test_duration(seconds, text):
    assert progress.duration(seconds) == text
