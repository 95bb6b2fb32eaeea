"""Telling learning from guessing, and slow learning from divergence."""

import math

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.train import chance
from nas_tf.train.accuracy import AccuracyCounter


def _counted(right: int, labels: list[int], num_classes: int) -> AccuracyCounter:
    """A network that is right on the first images and wrong on all others."""
    labels = np.array(labels)
    answers = np.where(np.arange(len(labels)) < right, labels, (labels + 1) % num_classes)
    counter = AccuracyCounter()
    for part in np.array_split(np.arange(len(labels)), 3):
        counter.add(np.eye(num_classes)[answers[part]], labels[part])
    return counter


def _tail(right: int, number: int, share: float) -> float:
    """P(Binomial(number, share) ≥ right), term by term."""
    terms = (math.comb(number, k) * share**k * (1 - share) ** (number - k) for k in range(right, number + 1))
    return math.fsum(terms)


@pytest.mark.parametrize("number, num_classes", [(40, 10), (200, 10), (99, 3)])
def test_the_limit_is_where_guessing_gets_once_in_a_thousand(number, num_classes):
    labels = [index % num_classes for index in range(number)]
    share = max(map(labels.count, range(num_classes))) / number
    limit = next(right for right in range(number) if _tail(right, number, share) <= 1e-3)
    assert chance.is_chance(_counted(limit - 1, labels, num_classes))
    assert not chance.is_chance(_counted(limit, labels, num_classes))


def test_the_best_guess_is_the_most_frequent_class():
    labels = [0] * 80 + [1] * 20
    assert chance.is_chance(_counted(80, labels, 2))  # 80 % and nothing learned
    assert not chance.is_chance(_counted(94, labels, 2))
    assert _counted(80, labels, 2).largest_share == 0.8


def test_the_summary_gets_a_warning_that_says_what_to_change():
    labels = [index % 10 for index in range(200)]
    assert chance.warning("top-1", _counted(100, labels, 10), "x") == {}
    assert chance.warning("evaluation top-1", _counted(18, labels, 10), "use more --epochs") == {
        "warning": "evaluation top-1 of 9.0% on 200 images is not above what guessing reaches (10.0% are of "
        "one class), so nothing was learned; use more --epochs"
    }


@pytest.mark.parametrize(
    "right, loss, stops", [(18, 5417, True), (18, 4.7, True), (18, 4.5, False), (60, 9, False)]
)
def test_a_loss_of_twice_that_of_a_guess_stops_a_network_that_guesses(right, loss, stops):
    """2 · ln 10 = 4.61."""
    accuracy = _counted(right, [index % 10 for index in range(200)], 10)
    if stops:
        with pytest.raises(
            UserError,
            match=rf"Training has diverged: its loss is {loss:g}, above 4.61 .*top-1 of 9.0% on 200 "
            "images is not .*; use less. Nothing of this epoch was saved; the checkpoints before it are",
        ):
            chance.require_no_divergence("top-1", accuracy, loss, "use less")
    else:
        chance.require_no_divergence("top-1", accuracy, loss, "use less")
