"""The correction of a table on networks whose truth is known."""

import dataclasses
from unittest.mock import ANY

import numpy as np
import pytest
from scipy.optimize import linprog

from nas_tf.base.errors import UserError
from nas_tf.latency import accuracy, correction
from nas_tf.latency.correction import fit_correction
from nas_tf.latency.entries import Correction
from nas_tf.latency.random_networks import random_architectures
from nas_tf.latency.whole_networks import Measured
from nas_tf.space.search_space import TINY
from tests.latency.test_table import tiny_table


def networks_of(table, factor, count=8, seed=0, intercept_ms=0.0, noise=0.0):
    """Networks whose measured latency is baseline + factor · Σ entries + intercept, but for noise."""
    rng, found = np.random.default_rng(seed), []
    for network in random_architectures(TINY, count, seed):
        total = table.predict_ms(network, 32, 10) - table.baseline_ms
        value = table.baseline_ms + (factor * total + intercept_ms) * (1 + noise * rng.standard_normal())
        found.append(Measured(network, value, (value, value)))
    return found


def test_it_finds_the_factor_and_ignores_one_disturbed_network():
    table = tiny_table(correction=Correction(3.0, 0.0, 5))  # an earlier one is not built upon
    networks = networks_of(tiny_table(), 1.25, count=7)
    networks[0] = dataclasses.replace(networks[0], median_ms=10 * networks[0].median_ms)
    found = fit_correction(table, networks)
    assert found == Correction(
        pytest.approx(1.25), 0.0, 7, tuple(n.architecture.to_string() for n in networks), ANY
    )
    corrected = dataclasses.replace(table, correction=found)
    others = networks_of(tiny_table(), 1.25, count=9, seed=3)
    assert accuracy.report(corrected, others)["mape_percent"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(UserError, match="3 networks or more"):
        fit_correction(table, networks[:2])


def test_it_finds_the_intercept_that_is_there_and_ignores_one_disturbed_network():
    """With a factor alone such networks are off by several per cent."""
    table = tiny_table()
    smallest = min(n.median_ms for n in networks_of(table, 1.0, count=24)) - table.baseline_ms
    there = {"factor": 1.2, "intercept_ms": -0.15 * smallest}
    networks = networks_of(table, **there, count=24)
    networks[3] = dataclasses.replace(networks[3], median_ms=10 * networks[3].median_ms)
    found = fit_correction(table, networks)
    assert found.scale == pytest.approx(1.2)
    assert found.intercept_ms == pytest.approx(-0.15 * smallest)
    others = networks_of(table, **there, count=9, seed=3)
    corrected = dataclasses.replace(table, correction=found)
    assert accuracy.report(corrected, others)["mape_percent"] == pytest.approx(0, abs=1e-9)


def test_without_one_no_intercept_follows_the_noise():
    """Seldom, and then it costs nothing: the error on other networks stays that of the factor."""
    table = tiny_table()
    with_intercept = 0
    for seed in range(20):
        found = fit_correction(table, networks_of(table, 1.1, count=24, seed=seed, noise=0.01))
        with_intercept += found.intercept_ms != 0
        corrected = dataclasses.replace(table, correction=found)
        others = networks_of(table, 1.1, count=40, seed=100 + seed)
        assert accuracy.report(corrected, others)["mape_percent"] < 1
    assert with_intercept <= 10


def test_few_networks_and_equal_sums_get_a_factor_alone():
    sums = np.array([1.0, 2, 3, 4, 5, 6, 7])
    assert correction._fitted(sums, 2 * sums + 1)[1] == 0
    near = 1 + np.arange(12) / 100
    assert correction._fitted(near, 2 * near + 1)[1] == 0
    equal = np.ones(12)
    assert correction._fitted(equal, 3 * equal) == (3.0, 0.0)


def test_the_line_is_the_linear_programs():
    """min Σ e with −e ≤ (scale · sum + intercept) / measured − 1 ≤ e, by an independent solver."""
    rng = np.random.default_rng(0)
    sums = rng.uniform(1, 4, 15)
    measured = (1.1 * sums - 0.1) * (1 + 0.05 * rng.standard_normal(15))
    rows = np.stack([sums, np.ones(15)], axis=1) / measured[:, None]
    solved = linprog(
        np.r_[0, 0, np.ones(15)],
        A_ub=np.block([[rows, -np.eye(15)], [-rows, -np.eye(15)]]),
        b_ub=np.r_[np.ones(15), -np.ones(15)],
        bounds=[(None, None)] * 2 + [(0, None)] * 15,
    )
    assert correction._line(sums, measured) == pytest.approx(tuple(solved.x[:2]), rel=1e-6)
