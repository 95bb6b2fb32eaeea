"""Figures of comparison, by hand computation."""

import numpy as np
import pytest

from quant.comparison import bootstrap_interval, compare, mcnemar_p_value, snr_db


def test_compare():
    reference = np.array([[3.0, 0.0], [3.0, 0.0], [0.0, 3.0], [0.0, 3.0]])
    logits = reference.copy()
    logits[0] = [0.0, 3.0]
    result = compare(reference, logits, np.array([0, 0, 1, 0]))
    assert (result.reference_top1, result.top1, result.agreement) == (0.75, 0.5, 0.75)
    # signal 4 · 9, noise 2 · 9
    assert result.snr_db == pytest.approx(10 * np.log10(2))


def test_snr_of_equal_values_is_infinite():
    assert snr_db(np.ones(3), np.ones(3)) == float("inf")


def test_mcnemar_is_the_exact_binomial():
    first = np.array([True] * 8 + [False] * 2 + [True] * 5)
    second = np.array([False] * 8 + [True] * 2 + [True] * 5)
    # 2 · P(at most 2 of 10) = 2 · (1 + 10 + 45) / 1024
    assert mcnemar_p_value(first, second) == pytest.approx(2 * 56 / 1024)
    assert mcnemar_p_value(first, first) == 1.0


def test_bootstrap_interval_is_near_the_normal_one():
    random = np.random.default_rng(0)
    first, second = random.random(1000) < 0.7, random.random(1000) < 0.6
    low, high = bootstrap_interval(first, second)
    difference = first.astype(float) - second
    half = 1.96 * difference.std() / np.sqrt(1000)
    assert low == pytest.approx(difference.mean() - half, abs=0.005)
    assert high == pytest.approx(difference.mean() + half, abs=0.005)
