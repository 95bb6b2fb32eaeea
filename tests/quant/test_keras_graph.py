"""Who feeds whom, and where the channels are: small graphs whose answers are plain."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from quant import keras_graph, kernel_layout, scheme
from quant.quantizer_list import feeding_range, following_range, kernel_ranges

layers = keras.layers


@pytest.fixture(name="diamond")
def diamond_fixture():
    """image → a → (b, c) → sum; b is read twice."""
    image = keras.Input((4, 4, 3), name="image")
    a = layers.Conv2D(3, 1, name="a")(image)
    b = layers.ReLU(6.0, name="b")(a)
    c = layers.DepthwiseConv2D(3, padding="same", name="c")(b)
    return keras.Model(image, layers.Add(name="sum")([b, c]))


def _names(found):
    return [layer.name for layer in found]


def test_sources_are_in_the_order_of_the_call(diamond):
    assert keras_graph.source_names(diamond.get_layer("sum")) == ["b", "c"]
    assert keras_graph.source_names(diamond.get_layer("a")) == ["image"]
    assert keras_graph.sources(diamond.get_layer("image")) == []


def test_consumers_have_one_entry_per_call(diamond):
    assert sorted(_names(keras_graph.consumers(diamond.get_layer("b")))) == ["c", "sum"]
    assert keras_graph.consumers(diamond.get_layer("sum")) == []


def test_calls_in_other_models_come_after_the_first(diamond):
    other = keras.Input((4, 4, 3), name="other")
    keras.Model(other, diamond.get_layer("a")(other))
    a = diamond.get_layer("a")
    assert keras_graph.source_names(a) == ["image"]
    assert _names(keras_graph.all_sources(a)) == ["image", "other"]


def test_the_layer_inside_a_quantizing_wrapper_and_no_other(diamond):
    qat_model, _, _ = scheme.quantize(diamond)
    wrapped = qat_model.get_layer("quant_c")
    assert keras_graph.inner(wrapped).name == "c" and keras_graph.inner(wrapped) is wrapped.layer
    plain = diamond.get_layer("c")
    assert keras_graph.inner(plain) is plain
    each = layers.TimeDistributed(layers.Dense(2))
    assert keras_graph.inner(each) is each


def test_ranges_before_and_behind_a_convolution(diamond):
    qat_model, _, _ = scheme.quantize(diamond)
    kernels = {k.source: k for k in kernel_ranges(qat_model)}
    assert feeding_range(qat_model, kernels["a"].layer).layer.name == "input_quantize"
    assert following_range(qat_model, kernels["a"].layer).source == "b"  # its ReLU is fused
    assert feeding_range(qat_model, kernels["c"].layer).source == "b"
    assert following_range(qat_model, kernels["c"].layer).source == "c"


@pytest.mark.parametrize(
    "layer, axis, per_row",
    [
        (layers.Conv2D(5, (2, 3)), -1, 2 * 3 * 4),
        (layers.DepthwiseConv2D((2, 3)), 2, 2 * 3),
        (layers.Dense(5), -1, 4),
    ],
)
def test_rows_are_what_makes_one_output_channel(layer, axis, per_row):
    layer.build((None, 7, 7, 4) if not isinstance(layer, layers.Dense) else (None, 4))
    kernel = np.random.default_rng(0).normal(size=layer.weights[0].shape)
    assert kernel_layout.channel_axis(layer) == axis
    assert kernel_layout.is_depthwise(layer) == (axis == 2)
    rows = kernel_layout.as_rows(kernel, layer)
    outputs = kernel.shape[axis]
    assert rows.shape == (outputs, per_row)
    for channel in range(outputs):
        np.testing.assert_array_equal(rows[channel], np.take(kernel, channel, axis).ravel())
    np.testing.assert_array_equal(kernel_layout.from_rows(rows, kernel.shape), kernel)


@pytest.mark.parametrize("layer", [layers.Conv2D(3, 2), layers.DepthwiseConv2D(2)])
def test_one_number_per_channel_scales_that_channel(layer):
    layer.build((None, 5, 5, 3))
    kernel, factors = layer.weights[0].numpy(), np.array([2.0, 3.0, 5.0], np.float32)
    for given in (factors, tf.constant(factors)):
        scaled = np.array(kernel * kernel_layout.against_kernel(given, layer))
        axis = kernel_layout.channel_axis(layer)
        for channel, factor in enumerate(factors):
            np.testing.assert_array_equal(
                np.take(scaled, channel, axis), factor * np.take(kernel, channel, axis)
            )
    assert kernel_layout.against_kernel(tf.constant(7.0), layer).shape == ()
