"""Histograms and quantization errors small enough to work out by hand."""

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from quant import ranges
from quant.quantizer_list import activation_ranges, kernel_ranges
from quant.ranges import Histogram, mse_range, percentile_range, quantization_error


def _single(low: float, high: float, **counts: int) -> Histogram:
    """A histogram with counts in numbered bins: `_single(0, 1, b3=5)`."""
    histogram = Histogram(low, high)
    for name, count in counts.items():
        histogram.counts[int(name[1:])] = count
    return histogram


def test_values_fall_into_the_bins_that_hold_them():
    histogram = Histogram(-1024.0, 1024.0)  # bins of width 1
    histogram.add(np.array([[-1024.0, -1023.5, -1023.0], [0.25, 1023.9, 1024.0]]))
    histogram.add(np.array([0.75]))
    assert {int(b): int(histogram.counts[b]) for b in histogram.counts.nonzero()[0]} == {
        0: 2,
        1: 1,
        1024: 2,
        2047: 2,
    }
    assert len(histogram.counts) == len(histogram.centers) == 2048
    np.testing.assert_array_equal(histogram.centers, np.arange(2048) - 1023.5)


def test_every_histogram_counts_for_itself():
    first, second = Histogram(0.0, 1.0), Histogram(0.0, 1.0)
    first.add(np.array([0.5]))
    assert second.counts.sum() == 0


def test_percentiles_of_few_values():
    histogram = _single(-1024.0, 1024.0, b10=1, b1000=97, b2000=2)
    # 1 % lies at −1013.5 and 2 % at 976.5; up to 1 % is left out on either side.
    assert percentile_range(histogram, 99.5) == (-1013.5, 976.5)
    assert percentile_range(histogram, 98.5)[0] == min(1000 - 1023.5, 0.0)
    assert percentile_range(histogram, 97.0) == (-23.5, 0.0)  # the middle lies below zero
    assert percentile_range(histogram, 100.0) == (-1023.5, 976.5)  # from end to end


def test_a_range_holds_zero():
    above, below = _single(1.0, 2049.0, b5=1), _single(-2049.0, -1.0, b5=1)
    assert percentile_range(above, 99.0) == (0.0, 6.5)
    assert percentile_range(below, 99.0) == (-2049.0 + 5.5, 0.0)
    assert mse_range(above)[0] == 0.0 and mse_range(below)[1] == 0.0


@pytest.mark.parametrize(
    "low, high, error",
    [
        (0.0, 255.0, 0.25),  # 0.5 lies between 0 and 1
        (0.0, 127.5, 0.0),  # steps of a half
        (-255.0, 0.0, 0.25),  # clipped at 0
        (-64.0, 191.0, 0.25),
    ],
)
def test_the_error_of_one_value(low, high, error):
    assert quantization_error(_single(0.0, 2048.0, b0=3), low, high) == pytest.approx(error)


def test_errors_are_weighed_by_their_counts_and_clipping_counts():
    histogram = _single(0.0, 2048.0, b0=3, b300=1)  # 0.5 and 300.5
    # Within [0, 255]: 3 of 4 are off by 0.5; 300.5 ends at 255, off by 45.5.
    assert quantization_error(histogram, 0.0, 255.0) == pytest.approx((3 * 0.25 + 45.5**2) / 4)
    # On a grid of step 2 from −100 on, 0.5 is rounded to 0 and 300.5 to 300.
    assert quantization_error(histogram, -100.0, 410.0) == pytest.approx((3 * 0.25 + 0.25) / 4)


def test_zero_lies_on_the_grid_whatever_the_range():
    histogram = _single(-0.5, 2047.5, b0=1)  # its value is exactly 0
    for low in (0.0, -0.3, -17.77, -100.4):
        assert quantization_error(histogram, low, low + 255.0) == 0.0


def test_a_range_without_width_is_the_worst():
    assert quantization_error(_single(0.0, 1.0, b3=1), 0.0, 0.0) == np.inf
    assert quantization_error(_single(0.0, 1.0, b3=1), 1.0, 0.5) == np.inf


def test_least_error_shrinks_the_side_that_has_the_outlier():
    values = np.random.default_rng(0).normal(0, 1, 50_000)
    for sign in (1, -1):
        data = np.append(values, sign * 60.0)
        histogram = Histogram(float(data.min()), float(data.max()))
        histogram.add(data)
        low, high = mse_range(histogram)
        far, near = (high, -low) if sign > 0 else (-low, high)
        assert near <= 1.1 * np.abs(values).max() and near > 0.29 * np.abs(values).max()
        assert 0.3 * 60 - 1e-6 <= far < 60.0
        assert quantization_error(histogram, low, high) < quantization_error(
            histogram, histogram.low, histogram.high
        )


def _activations(folded, source, images):
    import tf_keras as keras

    return keras.Model(folded.input, folded.get_layer(source).output)(images).numpy()


def test_percentile_calibration_is_that_of_the_float_activations(quantized, images):
    qat_model, folded = quantized
    found = ranges.calibrate(folded, qat_model, [images[:10], images[10:]], "percentile", 94.3)
    for source, (low, high) in found.items():
        values = _activations(folded, source, images)
        bins = float(values.max() - values.min()) / 2048
        wanted = np.percentile(values, [5.7, 94.3], method="inverted_cdf")
        assert low == pytest.approx(min(wanted[0], 0.0), abs=1.01 * bins)
        assert high == pytest.approx(max(wanted[1], 0.0), abs=1.01 * bins)
    assert found == {r.source: r.value for r in activation_ranges(qat_model) if r.fixed is None}


def test_the_default_is_minmax_and_kernels_are_fitted(quantized, images):
    qat_model, folded = quantized
    for kernel in kernel_ranges(qat_model):
        kernel.maximum.assign(0 * kernel.maximum)
    found = ranges.calibrate(folded, qat_model, [images])
    assert found == ranges.calibrate(folded, qat_model, [images], "minmax")
    for kernel in kernel_ranges(qat_model):
        largest = np.abs(kernel.kernel.numpy()).max()
        assert kernel.maximum.numpy().max() == largest == -kernel.minimum.numpy().min()


def test_of_many_values_one_in_eleven_is_counted(quantized, images, monkeypatch):
    _, folded = quantized
    observe = ranges._observer(folded, ["block1_expand_relu", "pool"])
    limits = ranges._limits(observe, ["block1_expand_relu", "pool"], [images])
    size = {name: _activations(folded, name, images).size for name in limits}
    every = ranges._histograms(observe, limits, [images])
    assert {name: h.counts.sum() for name, h in every.items()} == size
    monkeypatch.setattr(ranges, "_MANY", size["pool"])
    some = ranges._histograms(observe, limits, [images])
    assert some["pool"].counts.sum() == size["pool"]
    assert some["block1_expand_relu"].counts.sum() == -(-size["block1_expand_relu"] // 11)


def test_where_channels_are_a_multiple_of_the_step_none_is_left_out(monkeypatch):
    import tensorflow as tf

    channels, batch = 22, np.zeros(1)
    # Channel k holds nothing but k, so the histogram tells which channels were counted.
    values = np.broadcast_to(np.arange(float(channels)), (13, 9, channels)).astype(np.float32)
    monkeypatch.setattr(ranges, "_MANY", 100)
    limits = {"wide": (0.0, 21.0)}
    histogram = ranges._histograms(lambda _: {"wide": tf.constant(values)}, limits, [batch])["wide"]
    assert np.count_nonzero(histogram.counts) == channels


def test_what_is_no_number_is_refused_and_named(quantized, images):
    qat_model, folded = quantized
    bad = images.copy()
    bad[3, 0, 0, 0] = np.nan
    with pytest.raises(UserError, match="The calibration images hold values that are no numbers"):
        ranges.calibrate(folded, qat_model, [bad])
    # A linear layer, since ReLU6 makes 0 of it on some processors.
    layer = folded.get_layer("block0_project_conv")
    kernel = layer.get_weights()[0]
    kernel[0, 0, 0, 0] = np.nan
    layer.set_weights([kernel, *layer.get_weights()[1:]])
    with pytest.raises(UserError, match="The float activations of 'block0_project_conv'"):
        ranges.calibrate(folded, qat_model, [images])


def test_a_constant_activation_has_a_histogram():
    import tensorflow as tf

    def observe(batch):
        return {"flat": tf.constant([[2.0, 2.0]])}

    limits = ranges._limits(observe, ["flat"], [np.zeros(1)])
    assert limits == {"flat": (2.0, 2.0)}
    assert ranges._histograms(observe, limits, [np.zeros(1)])["flat"].counts.sum() == 2
