"""Second moments, damping and refinement against their definitions."""

import numpy as np
import pytest

from quant import rounding


@pytest.mark.parametrize("depthwise", [False, True])
def test_moments_are_means_of_products(depthwise):
    random = np.random.default_rng(0)
    patches = random.normal(size=(7, 3, 2) if depthwise else (7, 3))
    targets = random.normal(size=(7, 2))
    hessian, moment = rounding.moments(patches, targets)
    assert hessian.shape == ((2 if depthwise else 1), 3, 3) and moment.shape == (2, 3)
    for row in range(2):
        x = patches[..., row] if depthwise else patches
        np.testing.assert_allclose(
            hessian[row if depthwise else 0], sum(np.outer(v, v) for v in x) / 7, atol=1e-12
        )
        np.testing.assert_allclose(
            moment[row], sum(v * y for v, y in zip(x, targets[:, row])) / 7, atol=1e-12
        )


def test_damping_adds_a_share_of_the_mean_diagonal():
    hessian = np.array([[[2.0, 0.5], [0.5, 4.0]], [[10.0, 0.0], [0.0, 30.0]]])
    found = rounding.damped(hessian, 0.1)
    np.testing.assert_allclose(found - hessian, np.array([0.3, 2.0])[:, None, None] * np.eye(2), atol=1e-9)
    np.linalg.inv(rounding.damped(np.zeros((1, 3, 3))))  # even nothing can be inverted


def _case(seed: int, rows: int = 3, size: int = 5):
    random = np.random.default_rng(seed)
    inputs = random.normal(0, 1, (50, size)) + 2 * random.normal(0, 1, (50, 1))
    return random.uniform(-1, 1, (rows, size)), inputs.T @ inputs / 50 + 0.01 * np.eye(size)


def _losses(weights, integers, hessian, scales):
    error = weights - scales[:, None] * integers
    return np.einsum("ri,ij,rj->r", error, hessian, error)


def test_losses_are_quadratic_forms():
    errors, hessian = _case(1)
    wanted = [e @ hessian @ e for e in errors]
    np.testing.assert_allclose(rounding._losses(errors, hessian), wanted)
    np.testing.assert_allclose(rounding._losses(errors, np.stack([hessian] * 3)), wanted)


def test_one_sweep_takes_the_best_integer_of_each_weight_in_turn():
    weights, hessian = _case(2, rows=2)
    scales = np.array([0.1, 0.2])
    found = rounding.refine(weights, np.zeros((2, 5)), hessian, scales, sweeps=1)
    for row in range(2):
        wanted = np.zeros(5)
        for i in range(5):
            trials = []
            for value in range(-30, 31):
                wanted[i] = value
                error = weights[row] - scales[row] * wanted
                trials.append((error @ hessian @ error, value))
            wanted[i] = min(trials)[1]
        np.testing.assert_array_equal(found[row], wanted)


def test_pinned_integers_stay_and_the_given_ones_are_not_written_to():
    weights, hessian = _case(3)
    start, scales = np.round(weights / 0.1) + 5, np.full(3, 0.1)
    pinned = np.zeros((3, 5), bool)
    pinned[:, 2] = True
    given = start.copy()
    found = rounding.refine(weights, start, hessian, scales, pinned)
    np.testing.assert_array_equal(found[:, 2], start[:, 2])
    assert (found != start).any(axis=1).all()
    np.testing.assert_array_equal(start, given)
    free = rounding.refine(weights, start, hessian, scales)
    assert (_losses(weights, free, hessian, scales) < _losses(weights, found, hessian, scales)).all()


def test_refining_stays_within_127():
    weights = np.array([[3.0, -3.0, 0.5]])
    hessian = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.9], [0.0, 0.9, 2.0]])
    found = rounding.refine(weights, np.zeros((1, 3)), hessian, np.array([0.01]), sweeps=5)
    assert np.abs(found).max() == 127


@pytest.mark.parametrize("seed", range(10))
def test_no_row_is_worse_than_to_the_nearest_and_rows_do_not_mix(seed):
    weights, hessian = _case(seed, rows=6)
    scales = np.random.default_rng(seed).uniform(0.05, 0.3, 6)
    found = rounding.round_with_compensation(weights, hessian, scales)
    nearest = np.clip(np.round(weights / scales[:, None]), -127, 127)
    assert (
        _losses(weights, found, hessian, scales) <= _losses(weights, nearest, hessian, scales) + 1e-12
    ).all()
    for row in range(6):
        alone = rounding.round_with_compensation(weights[row : row + 1], hessian, scales[row : row + 1])
        np.testing.assert_array_equal(found[row], alone[0])


def test_of_two_ways_each_row_gets_the_better():
    """Compensation alone loses in some rows, the nearest start in others: both are tried."""
    better = {"compensated": 0, "nearest": 0}
    for seed in range(60):
        weights, hessian = _case(seed, rows=1)
        scales = np.array([0.25])
        nearest = np.round(weights / 0.25)
        from_nearest = rounding.refine(weights, nearest, hessian, scales)
        loss = _losses(weights, from_nearest, hessian, scales)[0]
        found = rounding.round_with_compensation(weights, hessian, scales)
        own = _losses(weights, found, hessian, scales)[0]
        assert own <= loss + 1e-12
        better["compensated" if own < loss - 1e-12 else "nearest"] += 1
    assert min(better.values()) > 0


def test_greedy_rounding_follows_the_formula_of_optimal_brain_surgeon():
    """Of two weights: the one of more power first; the other takes up δ = −e·H01/H11 of it."""
    hessian = np.array([[1.0, 0.6], [0.6, 4.0]])
    weights, scales = np.array([[0.52, 0.3]]), np.array([1.0])
    # Weight 1 (power 4): 0.3 → 0, error 0.3. Weight 0: 0.52 + 0.3 · 0.6 / 1 = 0.70 → 1.
    found = rounding.round_with_compensation(weights, hessian, scales)
    choices = [np.array([a, b]) for a in (0, 1) for b in (0, 1)]
    best = min(choices, key=lambda q: (weights[0] - q) @ hessian @ (weights[0] - q))
    np.testing.assert_array_equal(found[0], best)
    np.testing.assert_array_equal(found[0], [1, 0])
