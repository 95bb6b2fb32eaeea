"""The objectives' gradients against automatic differentiation and hand computation."""

import numpy as np
import pytest
import tensorflow as tf

from nas_tf.base.errors import UserError
from nas_tf.search import gates
from nas_tf.search.objective import (
    FORMS,
    IN_LOSS,
    LARGEST_WEIGHT,
    PENALTY,
    Objective,
    Resource,
    reference_scale,
)
from tests.search.helpers import phone_latency

COSTS = np.array([[1.0, 2.0, 4.0], [3.0, 5.0, 0.0]])
ALPHA = np.array([[0.3, -0.2, 0.5], [0.0, 1.0, -1.0]])
QUALITY = np.array([[0.5, -0.1, 0.2], [0.3, 0.1, -0.4]])


def _latency(limit: float) -> Resource:
    return Resource("latency_ms", COSTS, 2.0, limit)


def _automatic(total) -> np.ndarray:
    """Gradient in alpha by TensorFlow of total(loss, E) with loss = 2 + Σ p q."""
    alpha = tf.Variable(ALPHA)
    with tf.GradientTape() as tape:
        p = tf.nn.softmax(alpha)
        value = total(2.0 + tf.reduce_sum(p * QUALITY), 2.0 + tf.reduce_sum(p * COSTS))
    return tape.gradient(value, alpha).numpy()


def _ours(form: str, limit: float) -> np.ndarray:
    p = gates.probabilities(ALPHA)
    loss = 2.0 + (p * QUALITY).sum()
    return Objective(form, [_latency(limit)]).gradient(loss, gates.alpha_gradient(QUALITY, p), p, p)


def test_mul_log_is_the_authors_form():
    expected = _automatic(lambda loss, e: loss * 0.2 * (tf.math.log(e) / np.log(6.0)) ** 0.3)
    np.testing.assert_allclose(_ours("mul_log", 6.0), expected, rtol=1e-10)


@pytest.mark.parametrize("unit_ms", [1.0, 0.05, 0.001])
def test_mul_log_lowers_latency_in_every_unit(unit_ms):
    """Where networks take under a millisecond ln E is negative, and below 1 ms of E above it."""
    p = gates.probabilities(ALPHA)
    latency = Resource("latency_ms", unit_ms * COSTS, 2.0 * unit_ms, 6.0 * unit_ms)
    scale = reference_scale(latency, np.ones(COSTS.shape, bool))
    assert latency.range(np.ones(COSTS.shape, bool))[0] / scale >= np.e - 1e-12
    objective = Objective("mul_log", [latency], scale)
    found = objective.gradient(2.0, np.zeros(ALPHA.shape), p, p)
    slope = gates.alpha_gradient(COSTS, p)
    assert np.isfinite(found).all() and (found * slope).sum() > 0
    u = min(1.0, 3.0 * unit_ms / np.e)  # the fastest network takes 2 + 1 + 0 units
    expected = _automatic(
        lambda loss, e: 2.0 * 0.2 * (tf.math.log(e * unit_ms / u) / np.log(6.0 * unit_ms / u)) ** 0.3
    )
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_mul_log_counts_in_milliseconds_where_the_authors_networks_are(shared_data):
    assert reference_scale(*phone_latency(shared_data)) == 1.0


def test_add_linear_is_the_authors_form():
    expected = _automatic(lambda loss, e: loss + 0.1 * (e - 6.0) / 6.0)
    np.testing.assert_allclose(_ours("add_linear", 6.0), expected, rtol=1e-10)


@pytest.mark.parametrize("limit", [8.5, 8.6])
def test_constrained_is_an_augmented_lagrangian(limit):
    p = gates.probabilities(ALPHA)
    objective = Objective("constrained", [_latency(limit)])
    objective.state = np.array([0.0, 0.7])
    found = objective.gradient(2.0, gates.alpha_gradient(QUALITY, p), p, p)
    scale, multiplier = objective.state
    excess = _latency(limit).expected(p) / limit - 1
    assert (multiplier > 0.7) == (excess > 0)
    expected = _automatic(
        lambda loss, e: loss + scale * (multiplier * (e / limit - 1) + PENALTY / 2 * (e / limit - 1) ** 2)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("limit, sign", [(4.0, 1), (12.0, -1)])
def test_far_from_the_target_the_constraint_weighs_its_most(limit, sign):
    p = gates.probabilities(ALPHA)
    gradient = gates.alpha_gradient(QUALITY, p)
    pull = Objective("constrained", [_latency(limit)]).gradient(2.0, gradient, p, p) - gradient
    # The scale makes the pull's size a multiple of the loss gradient's.
    assert np.linalg.norm(pull) == pytest.approx(LARGEST_WEIGHT * np.linalg.norm(gradient))
    slope = gates.alpha_gradient(COSTS, p)
    np.testing.assert_allclose(pull / np.linalg.norm(pull), sign * slope / np.linalg.norm(slope))


def test_a_reward_that_has_the_latency_in_it_is_left_alone():
    p = gates.probabilities(ALPHA)
    gradient = gates.alpha_gradient(QUALITY, p)
    found = Objective(IN_LOSS, [_latency(6.0)]).gradient(2.0, gradient, p, p)
    np.testing.assert_array_equal(found, gradient)


def test_an_unknown_form_is_refused_by_name():
    with pytest.raises(UserError, match="'cubic'; allowed: projected, constrained, mul_log, add_linear"):
        Objective("cubic", [_latency(6.0)])


@pytest.mark.parametrize("form", FORMS)
def test_a_further_budget_pulls_only_when_exceeded(form):
    p = gates.probabilities(ALPHA)
    gradient = gates.alpha_gradient(QUALITY, p)
    params = np.array([[10.0, 20.0, 30.0], [5.0, 5.0, 0.0]])
    value = Resource("params", params, 0.0, 1.0).expected(p)
    plain = Objective(form, [_latency(6.0)]).gradient(2.0, gradient, p, p)
    for limit, pulls in ((value * 1.01, False), (value * 0.9, True)):
        objective = Objective(form, [_latency(6.0), Resource("params", params, 0.0, limit)])
        found = objective.gradient(2.0, gradient, p, p)
        if form != "constrained":  # there the shared scale moves as well
            assert np.allclose(found, plain) != pulls
        assert (objective.state[2] > 0) == pulls
        slope = gates.alpha_gradient(params, p)
        assert ((found - plain) * slope).sum() > 0 if pulls else True


def test_the_phone_table_gives_the_published_range(shared_data):
    latency, offered = phone_latency(shared_data)
    uniform = gates.probabilities(np.where(offered, 0.0, -np.inf))
    assert latency.expected(uniform) == pytest.approx(114.0, abs=0.05)
    low, high = latency.range(offered)
    assert (low, high) == (pytest.approx(29.6, abs=0.05), pytest.approx(191.0, abs=0.05))


def test_expected_latency_and_its_gradient_by_hand(shared_data):
    latency, offered = phone_latency(shared_data)
    alpha = np.where(offered, np.random.default_rng(0).normal(size=offered.shape), -np.inf)
    expected, gradient = latency.fixed, np.zeros(offered.shape)
    for b, row in enumerate(alpha):
        weights = [np.exp(a) if np.isfinite(a) else 0.0 for a in row]
        p = [w / sum(weights) for w in weights]
        mean = sum(q * c for q, c in zip(p, latency.costs[b]))
        expected += mean
        gradient[b] = [q * (c - mean) for q, c in zip(p, latency.costs[b])]
    p = gates.probabilities(alpha)
    assert latency.expected(p) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gates.alpha_gradient(latency.costs, p), gradient, atol=1e-12)
    assert not latency.costs[:, -1].any()  # ZeroOp and absent candidates cost nothing


def test_the_cost_of_a_choice_is_the_tables_prediction(shared_data):
    from nas_tf.latency.table import load_table
    from nas_tf.space.search_space import FULL

    latency, offered = phone_latency(shared_data)
    table = load_table(shared_data / "proxylessnas/mobile_trim.yaml")
    rng = np.random.default_rng(3)
    for _ in range(5):
        choice = gates.sample(rng, gates.probabilities(np.where(offered, 0.0, -np.inf)))
        operations = tuple(c.specs[k].operation for c, k in zip(FULL.choices(224), choice))
        predicted = table.predict_ms(FULL.architecture(operations), 224, 1000)
        assert latency.of(choice) == pytest.approx(predicted, rel=1e-12)
