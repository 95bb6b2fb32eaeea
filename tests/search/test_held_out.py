"""Figures on held-out images, and the count of architecture steps, against counting by hand."""

import types

import numpy as np
import pytest
import tensorflow as tf

from nas_tf.distribute.workers import ALONE
from nas_tf.search.config import SearchSchedule
from nas_tf.search.part_images import held_out_accuracy
from nas_tf.search.problem import check_problem
from nas_tf.search.run import alpha_steps_before
from tests.search.test_wiring import STEPS, config


class _Constant:
    """Stands for a supernet: whatever the image, the class `answer`; notes what it was asked."""

    def __init__(self, answer: int):
        self.answer, self.asked = answer, []

    def __call__(self, images, choice, training):
        self.asked.append((len(images), float(tf.reduce_min(images)), list(choice), training))
        return tf.tile(tf.one_hot([self.answer], 10), [len(images), 1])


@pytest.mark.parametrize("batch_size, counted", [(32, 21), (8, 16), (21, 21)])
def test_the_accuracy_is_that_of_whole_batches_of_held_out_images(table, batch_size, counted):
    problem = check_problem(config(table, {"batch_size": batch_size}))
    labels = np.array(list(problem.source.labels_in_order("train[:214]")))
    held_out = labels[list(problem.alpha_part.positions)]
    assert len(held_out) == 21
    for answer in (0, 3):
        net = _Constant(answer)
        found = held_out_accuracy(
            problem, types.SimpleNamespace(supernet=net, workers=ALONE), np.array([1, 2])
        )
        assert found == pytest.approx(np.mean(held_out[:counted] == answer))
        size = min(batch_size, 21)
        # Network input, (0 − 128) / 128 where an image is black; normalized by the batch.
        assert net.asked == [(size, -1.0, [1, 2], True)] * (counted // size)


@pytest.mark.parametrize("warmup, every", [(0, 1), (1, 2), (2, 3)])
def test_architecture_steps_are_counted_as_they_fall_due(warmup, every):
    problem = types.SimpleNamespace(
        warmup_steps=warmup * STEPS,
        config=types.SimpleNamespace(schedule=SearchSchedule(alpha_every=every)),
    )
    done = 0
    for step in range(5 * STEPS):
        assert alpha_steps_before(problem, step) == done
        joint = step + 1 - warmup * STEPS  # weight steps of the joint phase, this one included
        done += joint > 0 and joint % every == 0
