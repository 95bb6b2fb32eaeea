"""The moving parts of the constrained objective: scale, multipliers and their bounds."""

import numpy as np
import pytest

from nas_tf.search import gates
from nas_tf.search.objective import FAR, LARGEST_WEIGHT, MULTIPLIER_RATE, PENALTY, Objective, Resource

COSTS = np.array([[1.0, 2.0, 4.0], [3.0, 5.0, 0.0]])
P = gates.probabilities(np.array([[0.3, -0.2, 0.5], [0.0, 1.0, -1.0]]))
GRADIENT = gates.alpha_gradient(np.array([[0.5, -0.1, 0.2], [0.3, 0.1, -0.4]]), P)
VALUE = 2.0 + (P * COSTS).sum()


def _latency(limit: float) -> Resource:
    return Resource("latency_ms", COSTS, 2.0, limit)


def _constrained(excess: float) -> Objective:
    """With an expected latency of (1 + excess) · target."""
    return Objective("constrained", [_latency(VALUE / (1 + excess))])


@pytest.mark.parametrize("excess, gain", [(0.01, 0.01), (-0.01, -0.01), (0.3, FAR), (-0.3, -FAR), (FAR, FAR)])
def test_a_multiplier_follows_the_excess_up_to_a_bound(excess, gain):
    objective = _constrained(excess)
    for steps in range(1, 4):
        objective.gradient(2.0, GRADIENT, P, P)
        assert objective.state[1] == pytest.approx(steps * MULTIPLIER_RATE * gain, rel=1e-9)


@pytest.mark.parametrize("excess, bound", [(0.3, LARGEST_WEIGHT), (-0.3, -LARGEST_WEIGHT)])
def test_the_multiplier_of_latency_is_bounded_on_both_sides(excess, bound):
    objective = _constrained(excess)
    objective.state[1] = bound * 0.9999
    pull = objective.gradient(2.0, GRADIENT, P, P) - GRADIENT
    assert objective.state[1] == bound
    slope = gates.alpha_gradient(COSTS / objective.resources[0].limit, P)
    np.testing.assert_allclose(pull, objective.state[0] * bound * slope, rtol=1e-9)


def test_near_the_target_the_weight_is_multiplier_and_penalty():
    objective = _constrained(0.001)
    objective.state = np.array([0.0, 0.5])
    pull = objective.gradient(2.0, GRADIENT, P, P) - GRADIENT
    slope = gates.alpha_gradient(COSTS / objective.resources[0].limit, P)
    weight = 0.5 + MULTIPLIER_RATE * 0.001 + PENALTY * 0.001
    scale = np.linalg.norm(GRADIENT) / np.linalg.norm(slope)
    np.testing.assert_allclose(pull, scale * weight * slope, rtol=1e-6)


def test_the_scale_is_a_moving_average_of_the_gradients_ratio():
    objective = _constrained(0.01)
    slope = np.linalg.norm(gates.alpha_gradient(COSTS / objective.resources[0].limit, P))
    first = np.linalg.norm(GRADIENT) / slope
    objective.gradient(2.0, GRADIENT, P, P)
    assert objective.state[0] == pytest.approx(first)
    objective.gradient(2.0, 5 * GRADIENT, P, P)
    # s ← d·s + (1 − d)·5s: a share 1 − d of the way from s to 5 s, the same in every step
    moved = (objective.state[0] - first) / (4 * first)
    assert 0 < moved < 0.1
    objective.gradient(2.0, 5 * GRADIENT, P, P)
    assert (5 * first - objective.state[0]) / (4 * first) == pytest.approx((1 - moved) ** 2)


def test_gates_that_are_decided_do_not_divide_by_zero():
    p = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    found = _constrained(0.01).gradient(2.0, np.zeros_like(p), p, p)
    np.testing.assert_array_equal(found, np.zeros_like(p))


def test_a_further_budget_never_pushes_costs_up():
    params = np.array([[10.0, 20.0, 30.0], [5.0, 5.0, 0.0]])
    value = (P * params).sum()
    limits = (value * 1.3, value / 1.3)
    below, above = (
        Objective("add_linear", [_latency(6.0), Resource("params", params, 0.0, limit)]) for limit in limits
    )
    plain = Objective("add_linear", [_latency(6.0)]).gradient(2.0, GRADIENT, P, P)
    for _ in range(3):
        np.testing.assert_array_equal(below.gradient(2.0, GRADIENT, P, P), plain)
        assert below.state[2] == 0.0
    assert below.state[1] == above.state[1] == 0.0  # of latency, which is not constrained here
    pull = above.gradient(2.0, GRADIENT, P, P) - plain
    slope = gates.alpha_gradient(params / limits[1], P)
    np.testing.assert_allclose(pull, above.state[0] * LARGEST_WEIGHT * slope, rtol=1e-9)
    for _ in range(3000):
        above.gradient(2.0, GRADIENT, P, P)
    assert above.state[2] == LARGEST_WEIGHT


def test_only_the_involved_are_pulled():
    involved = np.array([[True, True, False], [False, True, True]])
    part = gates.renormalised(P, involved)
    pull = _constrained(0.3).gradient(2.0, GRADIENT, P, part) - GRADIENT
    slope = gates.alpha_gradient(COSTS, part)
    assert not pull[~involved].any()
    np.testing.assert_allclose(pull / np.linalg.norm(pull), slope / np.linalg.norm(slope), rtol=1e-9)


def test_what_a_network_costs():
    latency = _latency(6.0)
    assert latency.of(np.array([2, 0])) == 2.0 + 4.0 + 3.0
    assert latency.expected(np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])) == 2.0 + 1.5 + 5.0
    offered = np.array([[True, True, False], [True, True, True]])
    assert latency.range(offered) == (2.0 + 1.0 + 0.0, 2.0 + 2.0 + 5.0)
