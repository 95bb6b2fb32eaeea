"""Derivation against enumeration, on hand-made and on the published costs."""

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.search import gates
from nas_tf.search.derivation import most_probable
from nas_tf.search.objective import Resource
from tests.search.helpers import all_choices, phone_latency


def _problem(seed: int, blocks: int = 5, candidates: int = 4):
    rng = np.random.default_rng(seed)
    offered = rng.random((blocks, candidates)) < 0.8
    offered[:, 0] = True
    log_p = gates.log_probabilities(np.where(offered, rng.normal(0, 2.0, offered.shape), -np.inf))
    costs = np.where(offered, rng.uniform(0, 5, offered.shape), 0.0)
    return rng, offered, log_p, costs


def _score(log_p, choice) -> float:
    return log_p[np.arange(len(choice)), choice].sum()


def _enumerated(offered, log_p, resources) -> list[float]:
    """Log probabilities of all that fits, best first."""
    fits = (c for c in all_choices(offered) if all(r.of(c) <= r.limit for r in resources))
    return sorted((_score(log_p, c) for c in fits), reverse=True)


@pytest.mark.parametrize("seed", range(12))
def test_budget_equals_brute_force(seed):
    rng, offered, log_p, costs = _problem(seed)
    latency = Resource("latency_ms", costs, 1.5, 0.0)
    low, high = latency.range(offered)
    latency = Resource("latency_ms", costs, 1.5, rng.uniform(low, high))
    other = np.where(offered, rng.uniform(0, 3e6, offered.shape), 0.0)
    smallest = min(
        Resource("", other, 0.0, 1.0).of(c) for c in all_choices(offered) if latency.of(c) <= latency.limit
    )
    params = Resource("params", other, 0.0, smallest * 1.3)
    for resources in ([latency], [latency, params], []):
        expected = _enumerated(offered, log_p, resources)
        found = most_probable(log_p, resources, count=6)
        assert len(found) == min(6, len(expected))
        np.testing.assert_allclose([_score(log_p, c) for c in found], expected[:6], atol=1e-6)
        assert len({tuple(c) for c in found}) == len(found)
        for choice in found:
            assert offered[np.arange(len(choice)), choice].all()
            assert all(r.of(choice) <= r.limit for r in resources)


def test_a_limit_that_only_one_network_meets_exactly():
    costs = np.array([[1.0, 2.0], [1.0, 2.0]]) / 3
    log_p = gates.log_probabilities(np.array([[0.0, 9.0], [0.0, 9.0]]))
    (choice,) = most_probable(log_p, [Resource("latency_ms", costs, 0.0, costs[:, 0].sum())])
    np.testing.assert_array_equal(choice, [0, 0])


def test_a_network_over_the_limit_by_less_than_the_solvers_tolerance_is_not_taken():
    costs = np.array([[1.0, 1.0 + 1e-9], [1.0, 1.0]])
    log_p = gates.log_probabilities(np.array([[0.0, 5.0], [0.0, 0.0]]))
    (choice,) = most_probable(log_p, [Resource("latency_ms", costs, 0.0, 2.0)])
    assert choice[0] == 0


def test_an_unreachable_budget_is_refused():
    costs = np.array([[1.0, 2.0]])
    with pytest.raises(UserError, match="No network .* latency_ms <= 0.5"):
        most_probable(np.log([[0.5, 0.5]]), [Resource("latency_ms", costs, 0.0, 0.5)])


def test_without_limits_it_is_argmax():
    _, _, log_p, _ = _problem(7)
    np.testing.assert_array_equal(most_probable(log_p, [])[0], log_p.argmax(axis=1))


@pytest.mark.parametrize("seed", range(25))
def test_the_published_table_is_met(shared_data, seed):
    rng = np.random.default_rng(seed)
    latency, offered = phone_latency(shared_data)
    low, high = latency.range(offered)
    latency = Resource("latency_ms", latency.costs, latency.fixed, rng.uniform(low, high))
    log_p = gates.log_probabilities(
        np.where(offered, rng.normal(0, rng.choice([0.1, 1, 5]), offered.shape), -np.inf)
    )
    (choice,) = most_probable(log_p, [latency])
    assert latency.of(choice) <= latency.limit
    best = _score(log_p, choice)
    assert best >= _repaired(log_p, latency) - 1e-6
    # No change of one block is better.
    for b in range(len(choice)):
        for k in offered[b].nonzero()[0]:
            changed = choice.copy()
            changed[b] = k
            if latency.of(changed) <= latency.limit:
                assert _score(log_p, changed) <= best + 1e-6


def _repaired(log_p, latency) -> float:
    """Score of a plain heuristic: from argmax, give up the least log p a millisecond saved."""
    choice = log_p.argmax(axis=1)
    rows = np.arange(len(choice))
    while latency.of(choice) > latency.limit:
        saved = latency.costs[rows, choice][:, None] - latency.costs
        lost = log_p[rows, choice][:, None] - log_p
        price = np.where((saved > 0) & np.isfinite(log_p), lost / np.maximum(saved, 1e-12), np.inf)
        b, k = np.unravel_index(price.argmin(), price.shape)
        choice[b] = k
    return _score(log_p, choice)
