"""Ranks and the accuracy counter."""

import math

import numpy as np

from nas_tf.train.accuracy import AccuracyCounter, ranks


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


def test_batches_are_counted_all_the_same_and_each_is_read_when_the_next_is_under_way():
    """A device that computes the next one while the host reads is not kept waiting."""
    rng, events = np.random.default_rng(0), []

    class Tensor:
        """Stands for one that lies on a device."""

        def __init__(self, index, values):
            self.index, self.values = index, values

        def numpy(self):
            events.append(f"read {self.index}")
            return self.values

    parts = [(rng.normal(size=(4, 7)).astype(np.float32), rng.integers(0, 7, 4)) for _ in range(3)]

    def scored():
        for index, (logits, labels) in enumerate(parts):
            events.append(f"begin {index}")
            yield Tensor(index, logits), labels

    found, wanted = AccuracyCounter(), AccuracyCounter()
    found.add_all(scored())
    for pair in parts:
        wanted.add(*pair)
    assert events == ["begin 0", "begin 1", "read 0", "begin 2", "read 1", "read 2"]
    assert found.counts(7).tolist() == wanted.counts(7).tolist()
    found.add_all([])  # nothing
    assert found.examples == 12
