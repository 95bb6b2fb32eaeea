"""Whole searches on losses whose optimum is known."""

import numpy as np
import pytest

from benchmarks.synthetic_loss import random_quality, search
from nas_tf.search import gates
from nas_tf.search.architecture_parameters import ArchitectureParameters
from nas_tf.search.derivation import most_probable
from nas_tf.search.objective import ADD_LINEAR_LAMBDA, EQUALITIES, Objective, Resource, reference_scale
from nas_tf.search.reinforce import Reinforce
from tests.search.helpers import phone_latency

BLOCKS, CANDIDATES, STEPS = 8, 5, 400
OFFERED = np.ones((BLOCKS, CANDIDATES), bool)
NOISE = 0.3


def _problem(seed: int):
    """(quality, latency at a target in the middle, generator)."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(0, 1.0, OFFERED.shape)
    latency = Resource("latency_ms", rng.uniform(0, 5, OFFERED.shape), 2.0, 1.0)
    return quality, Resource("latency_ms", latency.costs, 2.0, np.mean(latency.range(OFFERED))), rng


def _searched(form: str, quality, latency, rng, seed: int, mode: str, steps: int = STEPS):
    parameters = ArchitectureParameters(OFFERED, 0.05, seed)
    search(parameters, Objective(form, [latency]), quality, steps, rng, NOISE, mode)
    return parameters


def _loss(quality, choice) -> float:
    return quality[np.arange(BLOCKS), choice].sum()


@pytest.mark.parametrize("mode", ["full", "two"])
@pytest.mark.parametrize("seed", range(5))
def test_the_optimum_of_a_separable_loss_is_found(seed, mode):
    quality, latency, rng = _problem(seed)
    # CE + λ (E − T) / T separates: each block's best minimizes quality + λ cost / T.
    total = quality + ADD_LINEAR_LAMBDA / latency.limit * latency.costs
    ordered = np.sort(total, axis=1)
    found = _searched("add_linear", quality, latency, rng, seed, mode).probabilities().argmax(1)
    clear = ordered[:, 1] - ordered[:, 0] > NOISE / 3
    assert clear.sum() >= 4
    np.testing.assert_array_equal(found[clear], total.argmin(axis=1)[clear])


@pytest.mark.parametrize("form", EQUALITIES)
@pytest.mark.parametrize("seed", range(5))
def test_within_a_budget_it_beats_random_search_of_equal_cost(seed, form):
    quality, latency, rng = _problem(seed)
    parameters = _searched(form, quality, latency, rng, seed, "two")
    log_p = gates.log_probabilities(parameters.values())
    (choice,) = most_probable(log_p, [latency])
    assert latency.of(choice) <= latency.limit
    best = _loss(quality, most_probable(-quality, [latency])[0])
    uniform = np.full(OFFERED.shape, 1 / CANDIDATES)
    drawn = (gates.sample(rng, uniform) for _ in range(2 * STEPS))  # a *two* step runs two paths
    at_random = min(_loss(quality, c) for c in drawn if latency.of(c) <= latency.limit)
    found = _loss(quality, choice)
    assert best - 1e-6 <= found < at_random
    assert found - best < 0.1 * abs(best)


@pytest.mark.parametrize("form, error", [("constrained", 0.02), ("projected", 1e-9)])
@pytest.mark.parametrize("target", [50.0, 120.0])
def test_expected_latency_ends_at_the_target_of_the_published_table(shared_data, target, form, error):
    latency, offered = phone_latency(shared_data, target)
    rng = np.random.default_rng(0)
    parameters = ArchitectureParameters(offered, 0.02, 0)
    search(
        parameters,
        Objective(form, [latency]),
        random_quality(rng, latency.costs, offered),
        600,
        rng,
        0.1,
        "full",
    )
    assert latency.expected(parameters.probabilities()) == pytest.approx(target, rel=error)


def test_the_same_seed_gives_the_same_alpha():
    first, second = (_searched("constrained", *_problem(3), 3, "two", steps=30) for _ in range(2))
    np.testing.assert_array_equal(first.values(), second.values())


def test_adam_is_the_published_rule():
    parameters = ArchitectureParameters(OFFERED, 0.01, 0)
    rng, alpha, square = np.random.default_rng(0), parameters.values(), np.zeros(OFFERED.shape)
    for step in range(1, 6):
        gradient = rng.normal(size=OFFERED.shape)
        parameters.apply_gradient(gradient, OFFERED)
        # β = (0, 0.999): α ← α − η g / (√(v / (1 − 0.999^t)) + ε)
        square = 0.999 * square + 0.001 * gradient**2
        alpha -= 0.01 * gradient / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    # TensorFlow adds ε before it corrects the bias, which changes the eighth digit.
    np.testing.assert_allclose(parameters.values(), alpha, atol=1e-6)


def test_a_step_of_two_moves_only_the_pairs_odds():
    parameters = ArchitectureParameters(OFFERED, 0.5, 0)
    involved, _ = gates.sample_involved(np.random.default_rng(0), parameters.probabilities(), OFFERED, 2)
    before = parameters.probabilities()
    gradient = np.random.default_rng(1).normal(size=OFFERED.shape)
    pair = gates.renormalised(before, involved)
    parameters.apply_gradient(gates.alpha_gradient(gradient, pair), involved)
    after = parameters.probabilities()
    np.testing.assert_allclose(after[~involved], before[~involved], atol=1e-6)
    assert (np.abs(after - before)[involved] > 0.01).all()


def test_the_policy_gradient_climbs_to_the_best_network():
    quality, latency, rng = _problem(0)
    reinforce = Reinforce(latency, latency_reward=False)
    parameters = ArchitectureParameters(OFFERED, 0.05, 0)
    for _ in range(STEPS):
        p = parameters.probabilities()
        choices = [gates.sample(rng, p) for _ in range(10)]
        rewards = [-_loss(quality, c) for c in choices]
        parameters.apply_gradient(reinforce.policy_gradient(choices, rewards, p), OFFERED)
    ordered = np.sort(quality, axis=1)
    clear = ordered[:, 1] - ordered[:, 0] > 0.5
    found = parameters.probabilities().argmax(axis=1)
    np.testing.assert_array_equal(found[clear], quality.argmin(axis=1)[clear])


def test_the_baseline_moves_nearly_to_the_batch_before_it_is_subtracted():
    """As in the ProxylessNAS authors' code: 0.99 of the way, and before."""
    reinforce = Reinforce(Resource("latency_ms", np.zeros((1, 2)), 1.0, 1.0), False)
    reinforce.baseline = 0.2
    p = np.array([[0.25, 0.75]])
    found = reinforce.policy_gradient([np.array([0]), np.array([1])], [1.0, 0.5], p)
    baseline = 0.2 + 0.99 * (0.75 - 0.2)
    assert reinforce.baseline == pytest.approx(baseline)
    # −mean of (r − b) (onehot − p)
    first, second = np.array([0.75, -0.75]), np.array([-0.25, 0.25])
    expected = -((1.0 - baseline) * first + (0.5 - baseline) * second) / 2
    np.testing.assert_allclose(found[0], expected, rtol=1e-12)


def test_a_first_baseline_is_the_first_batchs_mean():
    reinforce = Reinforce(Resource("latency_ms", np.zeros((1, 2)), 1.0, 1.0), False)
    reinforce.policy_gradient([np.array([0]), np.array([1])], [1.0, 0.5], np.full((1, 2), 0.5))
    assert reinforce.baseline == 0.75


@pytest.mark.parametrize("target_ms", [0.3, 0.5, 0.8])
def test_mul_log_lowers_the_latency_of_fast_networks(target_ms):
    """With logarithms of milliseconds it rises below 1 ms."""
    quality, latency, rng = _problem(0)
    latency = Resource("latency_ms", latency.costs / 40, 0.05, target_ms)
    parameters = ArchitectureParameters(OFFERED, 0.05, 0)
    before = latency.expected(parameters.probabilities())
    objective = Objective("mul_log", [latency], reference_scale(latency, OFFERED))
    search(parameters, objective, 0 * quality, 200, rng, 0.0, "full")
    after = latency.expected(parameters.probabilities())
    assert latency.range(OFFERED)[0] < after < 0.5 * before


def test_the_reward_is_the_authors():
    latency = Resource("latency_ms", np.array([[10.0, 40.0]]), 0.0, 20.0)
    reinforce = Reinforce(latency, latency_reward=True)
    assert reinforce.reward(0.5, np.array([1])) == pytest.approx(0.5 * 0.5**0.1)
    assert reinforce.reward(0.5, np.array([0])) == pytest.approx(0.5 * 2**0.1)
    assert Reinforce(latency, latency_reward=False).reward(0.5, np.array([1])) == 0.5
