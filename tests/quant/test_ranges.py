"""Ranges from float activations: closed forms, and brute force."""

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from quant import ranges
from quant.quantizer_list import activation_ranges
from quant.ranges import Histogram, mse_range, percentile_range, quantization_error


def _histogram(values: np.ndarray) -> Histogram:
    histogram = Histogram(float(values.min()), float(values.max()))
    histogram.add(values)
    return histogram


def test_minmax_is_the_extreme_of_the_float_activations(quantized, images):
    qat_model, folded = quantized
    import tf_keras as keras

    for entry in activation_ranges(qat_model):
        if entry.fixed:
            continue
        values = keras.Model(folded.input, folded.get_layer(entry.source).output)(images).numpy()
        assert entry.value == pytest.approx((min(values.min(), 0), max(values.max(), 0)), rel=1e-5)


def test_batches_and_one_batch_give_the_same_ranges(quantized, images):
    qat_model, folded = quantized
    whole = ranges.calibrate(folded, qat_model, [images], "mse")
    parts = ranges.calibrate(folded, qat_model, [images[:10], images[10:]], "mse")
    assert parts == {name: pytest.approx(value, rel=1e-4) for name, value in whole.items()}


def test_percentile_of_a_uniform_distribution():
    values = np.linspace(-1.0, 3.0, 200_001)
    low, high = percentile_range(_histogram(values), 95.0)
    # 5 % on either side of an interval of length 4
    assert (low, high) == pytest.approx((-0.8, 2.8), abs=0.01)


def test_error_of_a_uniform_distribution_is_a_twelfth_of_the_squared_step():
    values = np.linspace(0.0, 1.0, 2_000_001)
    # A range off the bins' raster, so that centers fall evenly between levels.
    assert quantization_error(_histogram(values), 0.0, 1.0) == pytest.approx((1 / 255) ** 2 / 12, rel=0.03)


def test_mse_range_clips_an_outlier_and_beats_minmax():
    random = np.random.default_rng(0)
    values = np.append(np.abs(random.normal(0, 1, 100_000)), 100.0)
    histogram = _histogram(values)
    low, high = mse_range(histogram)
    # x² / (12 · 255²) + (100 − x)² / 100,001 is least at x = 88.6
    assert low == 0.0 and high == pytest.approx(88.6, abs=2.0)
    best = quantization_error(histogram, low, high)
    assert best < 0.95 * quantization_error(histogram, 0.0, 100.0)


def test_mse_range_is_near_brute_force():
    values = np.random.default_rng(1).standard_t(4, 50_000)
    histogram = _histogram(values)
    found = quantization_error(histogram, *mse_range(histogram))
    fractions = np.linspace(0.2, 1.0, 40)
    best = min(
        quantization_error(histogram, a * histogram.low, b * histogram.high)
        for a in fractions
        for b in fractions
    )
    assert found <= 1.1 * best


def test_no_image_is_refused(quantized):
    qat_model, folded = quantized
    with pytest.raises(UserError, match="at least one image"):
        ranges.calibrate(folded, qat_model, [])


def test_an_unknown_method_is_refused(quantized, images):
    qat_model, folded = quantized
    with pytest.raises(UserError, match="'entropy'; allowed: minmax, percentile, mse"):
        ranges.calibrate(folded, qat_model, [images], "entropy")
