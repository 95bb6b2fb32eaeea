"""Metrics as lines of JSON and as scalars for TensorBoard."""

import json

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nas_tf.base.metric_log import METRICS_FILE, MetricLog, read_metrics


def test_metrics_are_lines_of_json_and_scalars(tmp_path):
    log = MetricLog(tmp_path)
    log.write(0, loss=tf.constant(1.5), probabilities=[np.array([0.25, 0.75]), [1.0]])
    log.write(1, loss=np.float32(0.5))
    log.close()
    lines = [json.loads(t) for t in (tmp_path / METRICS_FILE).read_text().splitlines()]
    assert lines == [
        {"epoch": 0, "loss": 1.5, "probabilities": [[0.25, 0.75], [1.0]]},
        {"epoch": 1, "loss": 0.5},
    ]
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
