"""Schedules, progress, the metric log and the accuracy counter."""

import io
import json
import math

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nas_tf.training import progress, schedules
from nas_tf.training.accuracy import AccuracyCounter, ranks
from nas_tf.training.metric_log import METRICS_FILE, MetricLog, read_metrics


def test_cosine_has_the_closed_form():
    assert schedules.cosine(0, 100, 0.4) == 0.4
    assert schedules.cosine(50, 100, 0.4) == pytest.approx(0.2)
    assert schedules.cosine(25, 100, 0.4) == pytest.approx(0.2 * (1 + math.sqrt(0.5)))
    assert schedules.cosine(100, 100, 0.4) == schedules.cosine(130, 100, 0.4) == 0.0


def test_cosine_agrees_with_keras():
    keras = tf.keras.optimizers.schedules.CosineDecay(0.3, 37)
    for step in range(40):
        assert schedules.cosine(step, 37, 0.3) == pytest.approx(float(keras(step)), abs=1e-7)


def test_warmup_rises_linearly_to_the_cosine():
    rates = [schedules.cosine(step, 30, 1.0, warmup_steps=5) for step in range(7)]
    assert rates[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert rates[6] == pytest.approx(0.5 * (1 + math.cos(math.pi / 25)))


@pytest.mark.parametrize("examples, batch, steps", [(10, 5, 2), (11, 5, 3), (1, 64, 1)])
def test_steps_per_epoch(examples, batch, steps):
    assert schedules.steps_per_epoch(examples, batch) == steps


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


def test_metrics_are_lines_of_json_and_scalars(tmp_path):
    log = MetricLog(tmp_path)
    log.write(0, loss=tf.constant(1.5), probabilities=[np.array([0.25, 0.75]), [1.0]])
    log.write(1, loss=np.float32(0.5))
    log.close()
    lines = [json.loads(t) for t in (tmp_path / METRICS_FILE).read_text().splitlines()]
    assert lines == [{"epoch": 0, "loss": 1.5, "probabilities": [[0.25, 0.75], [1.0]]},
                     {"epoch": 1, "loss": 0.5}]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    values = [(e.step, float(tf.make_ndarray(e.tensor_proto))) for e in events.Tensors("loss")]
    assert values == [(0, 1.5), (1, 0.5)]


def test_a_resumed_log_drops_what_will_be_written_again(tmp_path):
    log = MetricLog(tmp_path)
    for epoch in range(3):
        log.write(epoch, loss=float(epoch))
    log.close()
    with open(tmp_path / METRICS_FILE, "a", encoding="utf-8") as stream:
        stream.write('{"epoch": 3, "lo')  # killed while writing
    assert len(read_metrics(tmp_path)) == 3
    resumed = MetricLog(tmp_path, resume_epoch=2)
    resumed.write(2, loss=9.0)
    assert [line["loss"] for line in read_metrics(tmp_path)] == [0.0, 1.0, 9.0]


def test_no_metrics_yet(tmp_path):
    assert read_metrics(tmp_path) == []


def test_ranks_agree_with_a_stable_sort():
    random = np.random.default_rng(0)
    logits = random.integers(0, 6, (200, 9), np.uint8)  # many ties, as in quantized networks
    labels = random.integers(0, 9, 200)
    order = np.argsort(-logits.astype(int), axis=1, kind="stable")
    wanted = [row.tolist().index(label) for row, label in zip(order, labels)]
    assert ranks(logits, labels).tolist() == wanted
    assert ((ranks(logits, labels) == 0) == (logits.argmax(1) == labels)).all()


def test_accuracy_over_batches():
    counter = AccuracyCounter()
    assert math.isnan(counter.top1)
    logits = np.eye(8)  # the label's rank is 0; of another label j it is j + 1 or j
    counter.add(logits[:2], np.array([0, 1]))
    counter.add(logits[:2], np.array([7, 3]))
    assert counter.examples == 4 and counter.top1 == 0.5
    assert counter.top5 == 0.75  # 3 comes fifth after 1, 0, 2 … and 7 is last


def test_logits_that_are_no_numbers_are_never_right():
    counter = AccuracyCounter()
    counter.add(np.full((3, 10), np.nan), np.zeros(3, int))
    assert counter.top1 == counter.top5 == 0.0
