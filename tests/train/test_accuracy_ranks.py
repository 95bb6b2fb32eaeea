"""Ranks of labels and the shares that follow, at their bounds."""

import math

import numpy as np
import pytest

from nas_tf.train.accuracy import AccuracyCounter, ranks


def test_the_fifth_is_among_five_and_the_sixth_is_not():
    logits = np.array([[9, 8, 7, 6, 5, 4, 3]] * 7)
    counter = AccuracyCounter()
    counter.add(logits, np.arange(7))
    assert (counter.top1, counter.top5, counter.examples) == (1 / 7, 5 / 7, 7)


def test_before_any_image_there_is_no_share():
    counter = AccuracyCounter()
    assert math.isnan(counter.top1) and math.isnan(counter.top5) and counter.examples == 0


def test_batches_add_up_and_nothing_is_counted_twice():
    counter = AccuracyCounter()
    for labels in ([0, 1], [1, 1, 1]):
        counter.add(np.tile([1.0, 2.0], (len(labels), 1)), np.array(labels))
    assert (counter.examples, counter.top1, counter.top5) == (5, 0.8, 1.0)


def test_of_equal_logits_the_first_wins():
    assert ranks(np.zeros((3, 3), np.int8), np.arange(3)).tolist() == [0, 1, 2]
    assert ranks(np.array([[1, 3, 3, 3, 2]]), np.array([2])).tolist() == [1]
    assert ranks(np.array([[1, 3, 3, 3, 2]]), np.array([4])).tolist() == [3]


@pytest.mark.parametrize("label, rank", [(0, 1), (1, 3), (2, 0)])
def test_only_a_label_that_is_no_number_ranks_last(label, rank):
    logits = np.array([[1.0, np.nan, 2.0]])
    # NaN compares false with everything, so it stands before no number.
    assert ranks(logits, np.array([label])).tolist() == [rank]


def test_unsigned_logits_do_not_wrap():
    logits = np.array([[0, 255, 128]], np.uint8)
    assert [ranks(logits, np.array([k]))[0] for k in range(3)] == [2, 0, 1]
