"""Networks drawn around a budget, where most of a space lies far above it; and the tilt that does it."""

import dataclasses

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.latency.entries import Entry
from nas_tf.latency.keys import parse_key
from nas_tf.latency.random_networks import (
    Band,
    architectures_within,
    band_of,
    random_architectures,
    reach_of,
)
from nas_tf.latency.tilting import softmax, tilted
from nas_tf.space.layer_spec import BlockSpec
from nas_tf.space.search_space import TINY
from tests.latency.test_table import tiny_table


def skewed_table():
    """A tiny table in which a block with a 7×7 takes 50 times as long as one with a 3×3."""
    entries = {}
    for key in tiny_table().entries:
        spec = parse_key(key)
        slow = isinstance(spec, BlockSpec) and spec.operation.kernel == 7
        entries[key] = Entry(50.0 if slow else 1.0 + len(entries) / 50)
    return dataclasses.replace(tiny_table(), entries=entries)


def latencies(table, networks):
    return np.array([table.predict_ms(network, 32, 10) for network in networks])


@pytest.mark.parametrize("table", [tiny_table(), skewed_table()], ids=["even", "skewed"])
def test_networks_are_within_the_band_and_spread_over_it(table):
    fastest = latencies(table, random_architectures(TINY, 2000, 1)).min()
    band = band_of(TINY, table, budget_ms=1.5 * fastest)
    networks = architectures_within(TINY, table, band, 40, seed=3)
    found = latencies(table, networks)
    assert len(set(networks)) == 40
    assert found.min() >= band.low_ms and found.max() <= band.high_ms
    assert networks == architectures_within(TINY, table, band, 40, seed=3)
    others = architectures_within(TINY, table, band, 10, seed=3, other_than=networks)
    assert not set(others) & set(networks)


def test_they_are_spread_over_the_logarithm_of_the_band():
    table = tiny_table()
    band = Band(22.0, 28.0)
    found = latencies(table, architectures_within(TINY, table, band, 60, seed=0))
    middle = np.sqrt(band.low_ms * band.high_ms)
    assert 15 <= (found < middle).sum() <= 45


def test_uniform_draws_miss_the_band_of_a_skewed_table():
    """The control: of networks drawn with equal probabilities few are near a budget."""
    table = skewed_table()
    band = band_of(TINY, table, budget_ms=12.0)
    uniform = latencies(table, random_architectures(TINY, 500, 0))
    assert (uniform > band.high_ms).mean() > 0.7


def test_the_band_is_half_to_twice_the_budget_within_the_space():
    table = tiny_table()
    costs = [[table.cost_ms(spec) for spec in choice.specs] for choice in TINY.choices(32)]
    fixed = (*TINY.fixed_before(32), *TINY.fixed_after(32, 10))
    fastest = table.intercept_ms + sum(map(table.cost_ms, fixed)) + sum(map(min, costs))
    band = band_of(TINY, table, 13.0)
    # Half of it is below the fastest network, twice as much within the space.
    assert (band.low_ms, band.high_ms) == (pytest.approx(fastest), 26.0)
    slowest = table.intercept_ms + sum(map(table.cost_ms, fixed)) + sum(map(max, costs))
    reach = reach_of(TINY, table)
    assert (reach.low_ms, reach.high_ms) == (pytest.approx(fastest), pytest.approx(slowest))
    whole = band_of(TINY, table)
    assert whole.low_ms == pytest.approx(fastest) and whole.high_ms <= 4 * whole.low_ms
    with pytest.raises(UserError, match="half to twice 1000 ms: they take"):
        band_of(TINY, table, 1000.0)


def test_an_empty_band_gives_what_there_is():
    table = tiny_table()
    low = band_of(TINY, table).low_ms
    # One network alone is the fastest one.
    assert len(architectures_within(TINY, table, Band(low, low * (1 + 1e-9)), 5, 0)) == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_tilt_has_the_expectation_and_keeps_the_odds_of_equal_costs(seed):
    rng = np.random.default_rng(seed)
    costs = rng.choice([1.0, 2.0, 5.0, 100.0], (6, 5))
    costs[:, 1] = costs[:, 0]
    logits = rng.normal(size=(6, 5))
    logits[2, 3:] = -np.inf
    low = np.where(np.isfinite(logits), costs, np.inf).min(axis=1).sum()
    high = np.where(np.isfinite(logits), costs, -np.inf).max(axis=1).sum()
    for target in (low + 0.01, low + 0.02 * (high - low), low + 0.8 * (high - low)):
        found = tilted(logits, costs, target)
        p = softmax(found)
        assert (p * costs).sum() == pytest.approx(target, rel=1e-9)
        np.testing.assert_allclose(found[:, 1] - found[:, 0], logits[:, 1] - logits[:, 0], atol=1e-9)
        assert (p[2, 3:] == 0).all()
        # Of all distributions with the expectation it is the nearest: others are further.
        least = _divergence(p, softmax(logits))
        for _ in range(20):
            other = softmax(tilted(found + 0.1 * rng.normal(size=found.shape), costs, target))
            assert _divergence(other, softmax(logits)) >= least - 1e-12


def test_a_target_out_of_reach_changes_nothing():
    logits, costs = np.zeros((2, 2)), np.array([[1.0, 2.0], [1.0, 2.0]])
    for target in (1.9, 4.1):
        assert tilted(logits, costs, target) is logits


def _divergence(p, q):
    present = p > 0
    return (p[present] * np.log(p[present] / q[present])).sum()
