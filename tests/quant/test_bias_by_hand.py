"""Rounding to the grid of kernels and biases, worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from quant import bias
from quant.quantizer_list import KernelRange


def _kernel(layer: keras.layers.Layer, values: np.ndarray, largest) -> KernelRange:
    class Wrapper:  # what a quantizing wrapper has of it
        pass

    Wrapper.layer = layer
    largest = np.array(largest, np.float32)
    return KernelRange(
        Wrapper,
        "c",
        tf.Variable(values.astype(np.float32)),
        tf.Variable(-largest),
        tf.Variable(largest),
        None,
    )


def test_halves_go_up_and_nothing_goes_beyond_127():
    values = np.array(
        [[[[-127.5, 254.0], [-0.5, 1.0], [0.5, 3.0], [0.49, -1.0], [130.0, -260.0], [126.5, 0.9]]]]
    )
    found = bias._on_grid(_kernel(keras.layers.Conv2D(2, 1), values, [127.0, 254.0]))
    # Steps 1 and 2: integers of the first are floor(w + 1/2), of the second floor(w/2 + 1/2).
    np.testing.assert_array_equal(found[0, 0], [[-127, 254], [0, 2], [1, 4], [0, 0], [127, -254], [127, 0]])
    assert found.dtype == np.float32


def test_depthwise_channels_are_the_third_axis():
    values = np.array([1.4, 1.4, 1.4]).reshape(1, 1, 3, 1)
    found = bias._on_grid(_kernel(keras.layers.DepthwiseConv2D(1), values, [127.0, 63.5, 31.75]))
    # Steps 1, 1/2, 1/4
    np.testing.assert_array_equal(found.ravel(), [1.0, 1.5, 1.5])


def test_a_kernel_of_zeros_stays():
    values = np.zeros((1, 1, 2, 2))
    values[..., 1] = 0.3
    found = bias._on_grid(_kernel(keras.layers.Conv2D(2, 1), values, [0.0, 127.0]))
    np.testing.assert_array_equal(found, np.zeros((1, 1, 2, 2)))


@pytest.mark.parametrize(
    "values, step, rounded, largest",
    [
        ([0.3, -0.8, 1.0], [0.5, 0.5, 0.5], [0.5, -1.0, 1.0], 0.4),
        ([0.3, 0.3], [0.5, 4.0], [0.5, 0.0], 0.4),
        ([0.25], [0.5], [0.0], 0.5),  # halves to even, as NumPy and the converter
        ([0.75], [0.5], [1.0], 0.5),
    ],
)
def test_biases_by_hand(values, step, rounded, largest):
    variable = tf.Variable(np.array(values, np.float32))
    assert bias._round_bias(variable, np.array(step)) == pytest.approx(largest, abs=1e-6)
    np.testing.assert_allclose(variable.numpy(), rounded, atol=1e-7)


def test_the_largest_change_of_all_kernels_is_told(quantized):
    qat_model, _ = quantized
    changes = []
    real = bias._round_bias
    try:
        bias._round_bias = lambda *given: changes.append(real(*given)) or changes[-1]
        largest = bias.round_to_grid(qat_model)
    finally:
        bias._round_bias = real
    assert len(changes) > 3 and largest == max(changes) > min(changes)


def test_a_kernel_without_bias_is_rounded_too():
    from quant import ranges, scheme
    from quant.quantizer_list import kernel_ranges

    x = keras.Input((4, 4, 3))
    y = keras.layers.Conv2D(2, 1, use_bias=False, name="bare")(x)
    model = keras.Model(x, keras.layers.Conv2D(2, 1, name="full")(y))
    qat_model, folded, _ = scheme.quantize(model)
    ranges.calibrate(folded, qat_model, [np.full((1, 4, 4, 3), 0.5, np.float32)])
    bias.round_to_grid(qat_model)
    for kernel in kernel_ranges(qat_model):
        steps = kernel.kernel.numpy() / kernel.scales
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
        assert np.abs(np.round(steps)).max(axis=(0, 1, 2)).tolist() == [127, 127]
