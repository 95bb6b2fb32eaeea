"""Rounding with compensation against brute force and against rounding to nearest."""

import itertools

import numpy as np

from quant.comparison import snr_db
from quant.reconstruction import reconstruct, round_with_compensation


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
    # Greedy, so a single case may be unlucky; on the whole most of the excess goes.
    assert (found - best).mean() < 0.3 * (nearest - best).mean()


def _losses(random: np.random.Generator) -> tuple[float, float, float]:
    """Losses of the best integers (brute force), the compensated and the nearest ones."""
    inputs = random.normal(0, 1, (50, 5)) + 2 * random.normal(0, 1, (50, 1))
    hessian, scale = inputs.T @ inputs / 50 + 0.01 * np.eye(5), 0.1
    weights = random.uniform(-1, 1, (1, 5))
    found = round_with_compensation(weights, hessian, np.array([scale]))[0]
    floor = np.floor(weights[0] / scale)
    best = min(_loss(weights[0], floor + np.array(steps), hessian, scale)
               for steps in itertools.product((-1, 0, 1, 2), repeat=5))
    return (best, _loss(weights[0], found, hessian, scale),
            _loss(weights[0], np.round(weights[0] / scale), hessian, scale))


def test_a_hessian_a_row_equals_each_row_alone():
    random = np.random.default_rng(3)
    weights, scales = random.normal(0, 1, (3, 4)), np.full(3, 0.05)
    inputs = random.normal(0, 1, (3, 20, 4))
    hessians = np.swapaxes(inputs, 1, 2) @ inputs / 20 + 0.1 * np.eye(4)
    together = round_with_compensation(weights, hessians, scales)
    for row in range(3):
        alone = round_with_compensation(weights[row:row + 1], hessians[row], scales[row:row + 1])
        np.testing.assert_array_equal(together[row:row + 1], alone)


def test_integers_stay_in_range():
    found = round_with_compensation(np.array([[9.0, -9.0]]), np.eye(2), np.array([0.01]))
    np.testing.assert_array_equal(found, [[127, -127]])


def test_a_network_comes_closer_to_its_float_form(quantized, images):
    qat_model, folded = quantized
    reference = folded(images).numpy()
    before = snr_db(reference, qat_model(images).numpy())
    errors = reconstruct(folded, qat_model, images)
    assert set(errors) == {la.name for la in folded.layers if la.weights}
    assert all(after <= first for first, after in errors.values())
    assert snr_db(reference, qat_model(images).numpy()) > before + 1.0
