"""Rounding with compensation against brute force, least squares against its closed form."""

import itertools
import tracemalloc

import numpy as np
import pytest

from quant import rounding
from quant.rounding import round_with_compensation


def _loss(weights, integers, hessian, scale):
    error = weights - scale * integers
    return float(error @ hessian @ error)


def test_without_correlation_it_is_rounding_to_nearest():
    weights = np.random.default_rng(0).normal(0, 1, (4, 6))
    scales = np.abs(weights).max(axis=1) / 127
    found = round_with_compensation(weights, np.eye(6), scales)
    np.testing.assert_array_equal(found, np.round(weights / scales[:, None]))


def test_with_correlation_it_lies_between_the_best_and_the_nearest():
    losses = np.array([_losses(np.random.default_rng(seed)) for seed in range(40)])
    best, found, nearest = losses.T
    assert np.all(found >= best - 1e-12)
    # No search of all combinations, so a single case may be unlucky; on the whole most goes.
    assert (found - best).mean() < 0.2 * (nearest - best).mean()


def _losses(random: np.random.Generator) -> tuple[float, float, float]:
    """Losses of the best integers (brute force), the compensated and the nearest ones."""
    weights, hessian = _case(random)
    found = round_with_compensation(weights, hessian, np.array([0.1]))[0]
    floor = np.floor(weights[0] / 0.1)
    best = min(
        _loss(weights[0], floor + np.array(steps), hessian, 0.1)
        for steps in itertools.product((-1, 0, 1, 2), repeat=5)
    )
    return (
        best,
        _loss(weights[0], found, hessian, 0.1),
        _loss(weights[0], np.round(weights[0] / 0.1), hessian, 0.1),
    )


def _case(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Weights [1, 5] and the second moments of strongly correlated inputs."""
    inputs = random.normal(0, 1, (50, 5)) + 2 * random.normal(0, 1, (50, 1))
    return random.uniform(-1, 1, (1, 5)), inputs.T @ inputs / 50 + 0.01 * np.eye(5)


def test_refining_ends_where_no_single_integer_can_be_bettered():
    for seed in range(20):
        weights, hessian = _case(np.random.default_rng(seed))
        start = np.round(weights / 0.1)
        found = rounding.refine(weights, start, hessian, np.array([0.1]), sweeps=50)
        loss = _loss(weights[0], found[0], hessian, 0.1)
        assert loss <= _loss(weights[0], start[0], hessian, 0.1)
        for i, step in itertools.product(range(5), (-1, 1)):
            other = found[0].copy()
            other[i] += step
            assert _loss(weights[0], other, hessian, 0.1) >= loss - 1e-12


def test_the_largest_weight_keeps_its_127_steps_and_others_make_up_for_it():
    for seed in range(20):
        weights, hessian = _case(np.random.default_rng(seed))
        scale = np.abs(weights).max() / 127
        found = round_with_compensation(weights, hessian, np.array([scale]))
        assert np.abs(found).max() == 127
        assert np.argmax(np.abs(found)) == np.argmax(np.abs(weights))
        nearest = np.round(weights / scale)
        assert (
            _loss(weights[0], found[0], hessian, scale)
            <= _loss(weights[0], nearest[0], hessian, scale) * (1 + 1e-9) + 1e-12
        )


def test_a_hessian_a_row_equals_each_row_alone():
    random = np.random.default_rng(3)
    weights, scales = random.normal(0, 1, (3, 4)), np.full(3, 0.05)
    inputs = random.normal(0, 1, (3, 20, 4))
    hessians = np.swapaxes(inputs, 1, 2) @ inputs / 20 + 0.1 * np.eye(4)
    together = round_with_compensation(weights, hessians, scales)
    for row in range(3):
        alone = round_with_compensation(weights[row : row + 1], hessians[row], scales[row : row + 1])
        np.testing.assert_array_equal(together[row : row + 1], alone)


def test_integers_stay_in_range():
    found = round_with_compensation(np.array([[9.0, -9.0]]), np.eye(2), np.array([0.01]))
    np.testing.assert_array_equal(found, [[127, -127]])


@pytest.mark.parametrize("depthwise", [False, True])
def test_least_squares_finds_the_weights_that_made_the_outputs(depthwise):
    random = np.random.default_rng(4)
    patches = random.normal(0, 1, (200, 6, 3) if depthwise else (200, 6))
    true = random.normal(0, 1, (3, 6))
    outputs = np.einsum("mdc,cd->mc", patches, true) if depthwise else patches @ true.T
    hessian, moment = rounding.moments(patches, outputs)
    start = np.zeros((3, 6))
    found = rounding.ridge_regression(start, hessian, moment, 1e-9)
    np.testing.assert_allclose(found, true, atol=1e-6)
    # A stronger pull ends nearer the start, and an infinite one at it.
    distances = [
        np.linalg.norm(rounding.ridge_regression(start, hessian, moment, r) - true)
        for r in (0.01, 0.1, 1.0, np.inf)
    ]
    assert distances == sorted(distances) and distances[-1] == np.linalg.norm(true)


def test_the_ridge_is_the_minimum_of_its_loss():
    random = np.random.default_rng(5)
    patches, targets = random.normal(0, 1, (40, 4)), random.normal(0, 1, (40, 2))
    start, ridge = random.normal(0, 1, (2, 4)), 0.3
    hessian, moment = rounding.moments(patches, targets)
    found = rounding.ridge_regression(start, hessian, moment, ridge)
    strength = ridge * np.mean(np.diag(patches.T @ patches)) / 40

    def loss(rows):
        return np.sum((patches @ rows.T - targets) ** 2) / 40 + strength * np.sum((rows - start) ** 2)

    for direction in np.eye(8).reshape(8, 2, 4):
        assert loss(found + 1e-3 * direction) > loss(found)
        assert loss(found - 1e-3 * direction) > loss(found)


def test_one_hessian_of_all_rows_is_not_repeated_for_each():
    rows, size = 64, 96
    rng = np.random.default_rng(0)
    weights, patches = rng.normal(size=(rows, size)), rng.normal(size=(300, size))
    hessian, scales = patches.T @ patches / 300, np.full(rows, 0.05)
    tracemalloc.start()
    together = round_with_compensation(weights, hessian[None], scales)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 8 bytes each; a copy for each row alone would be this much
    assert peak < rows * size * size * 8
    repeated = round_with_compensation(weights, np.repeat(hessian[None], rows, axis=0), scales)
    np.testing.assert_array_equal(together, repeated)
