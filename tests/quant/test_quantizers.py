"""Fake quantizers by their formulas, and the range that is kept full."""

import numpy as np
import tensorflow as tf
import tf_keras as keras

from quant.accumulator import NEARLY_LEAST
from quant.distillation import inputs_of, keep_full_range
from quant.quantizer_list import LEAST_KERNEL_SCALE, KernelRange
from quant.quantizers import ActivationQuantizer, DepthwiseKernelQuantizer


class _Holder(keras.layers.Layer):
    pass


def test_each_depthwise_channel_is_rounded_by_its_own_range():
    quantizer, holder = DepthwiseKernelQuantizer(), _Holder()
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 1)) * [[1.0], [0.1], [10.0], [3.0]]
    variables = quantizer.build((3, 3, 4, 1), "depthwise_kernel", holder)
    assert {v.shape.as_list()[0] for v in variables.values() if v.shape.rank} == {4}
    found = quantizer(tf.constant(kernel, tf.float32), True, variables).numpy()
    steps = np.abs(kernel).max(axis=(0, 1), keepdims=True) / 127
    np.testing.assert_allclose(
        found, np.floor(kernel / steps + 0.5) * steps, atol=1e-6 * np.abs(kernel).max()
    )


def test_an_unset_range_gives_zeros_and_training_moves_it_a_little():
    quantizer = ActivationQuantizer(ema_decay=0.75)
    variables = quantizer.build((None, 4), "output", _Holder())
    x = tf.constant([[-1.0, 0.5, 2.0, 3.0]])
    assert not quantizer(x, False, variables).numpy().any()
    quantizer(x, True, variables)
    # r ← r + (1 − decay) · (extreme − r)
    assert float(variables["min_var"]) == -0.25 and float(variables["max_var"]) == 0.75
    quantizer(x, False, variables)
    assert float(variables["max_var"]) == 0.75
    assert ActivationQuantizer(**quantizer.get_config()).ema_decay == 0.75


def _kernel(layer, values, largest) -> KernelRange:
    class Wrapper:
        pass

    Wrapper.layer = layer
    largest = np.array(largest, np.float32)
    return KernelRange(
        Wrapper, "c", tf.Variable(np.float32(values)), tf.Variable(-largest), tf.Variable(largest), None
    )


def test_a_shrunk_channel_gets_its_end_back_and_no_other_weight_moves():
    values = np.array([[[[100.0, -2.0], [-126.0, 254.0], [3.0, 0.0]]]])  # steps 1 and 2
    kernel = _kernel(keras.layers.Conv2D(2, 1), values, [127.0, 254.0])
    keep_full_range([kernel], [np.zeros(2)])
    np.testing.assert_array_equal(kernel.kernel[0, 0], [[100, -2], [-127, 254], [3, 0]])


def test_depthwise_channels_are_kept_full_one_by_one():
    values = np.array([[[[10.0], [5.0]], [[-20.0], [60.0]]]])  # [1, 2, 2 channels, 1], steps 1 and 1/2
    kernel = _kernel(keras.layers.DepthwiseConv2D((1, 2)), values, [127.0, 63.5])
    keep_full_range([kernel], [np.zeros(2)])
    np.testing.assert_array_equal(kernel.kernel[0, :, :, 0], [[10, 5], [-127, 63.5]])


def test_a_channel_whose_step_is_its_biass_is_left_alone():
    values = np.array([[[[50.0, 50.0]]]])
    kernel = _kernel(keras.layers.Conv2D(2, 1), values, [127.0, 127.0])
    keep_full_range([kernel], [np.array([0.9 / NEARLY_LEAST, 1.1 / NEARLY_LEAST])])
    np.testing.assert_array_equal(kernel.kernel[0, 0, 0], [127, 50])


def test_ranges_are_fitted_and_raised_per_channel():
    kernel = _kernel(
        keras.layers.DepthwiseConv2D(1), np.array([3.0, -12.7, 0.0]).reshape(1, 1, 3, 1), [1, 1, 1]
    )
    kernel.fit()
    np.testing.assert_allclose(kernel.maximum, [3.0, 12.7, 0.0])
    np.testing.assert_array_equal(kernel.minimum, -kernel.maximum.numpy())
    np.testing.assert_allclose(kernel.scales, [3 / 127, 0.1, LEAST_KERNEL_SCALE], rtol=1e-6)
    kernel.raise_to(np.array([0.1, 0.05, 1.0]))
    np.testing.assert_allclose(kernel.maximum, [12.7, 12.7, 127.0], rtol=1e-6)
    assert kernel.unit.shape == (3, 1)


def test_inputs_of_the_first_images():
    batches = [(tf.fill([4, 1, 1, 3], tf.cast(i, tf.uint8)), None) for i in range(5)]
    found = list(inputs_of(batches, 6))
    assert [len(x) for x in found] == [4, 2]
    assert float(found[1][0, 0, 0, 0]) == (1 - 128) / 128
    assert list(inputs_of(batches, 0)) == []
