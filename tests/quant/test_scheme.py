"""Every tensor that int8 kernels quantize has a fake quantizer of the right kind."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from nas_tf.base.errors import UserError
from quant import ranges, scheme
from quant.quantizer_list import activation_ranges, kernel_ranges

layers = keras.layers


def _by_numpy(kernel: np.ndarray, axis: int) -> np.ndarray:
    """Symmetric narrow-range int8 rounding with one scale for each index of `axis`."""
    others = tuple(i for i in range(kernel.ndim) if i != axis % kernel.ndim)
    scale = np.abs(kernel).max(axis=others, keepdims=True) / 127
    return np.floor(kernel / scale + 0.5) * scale


def test_kernels_are_rounded_per_output_channel(quantized):
    qat_model, _ = quantized
    found = kernel_ranges(qat_model)
    assert {k.source.split("_")[-1] for k in found} == {"conv", "logits"}
    for entry in found:
        _, quantizer, pair = entry.layer._weight_vars[0]
        kernel = entry.kernel.numpy()
        rounded = quantizer(tf.constant(kernel), False, weights=pair).numpy()
        np.testing.assert_allclose(rounded, _by_numpy(kernel, entry.channel_axis), atol=1e-6)
        channels = kernel.shape[entry.channel_axis]
        assert entry.scales.shape == (channels,)


def test_depthwise_channels_fill_their_range(quantized):
    depthwise = [k for k in kernel_ranges(quantized[0]) if k.is_depthwise]
    assert len(depthwise) == 3
    for entry in depthwise:
        integers = np.round(entry.kernel.numpy()[..., 0] / entry.scales)
        np.testing.assert_array_equal(np.abs(integers).max(axis=(0, 1)), 127)


def test_every_activation_is_covered(quantized):
    expected = ["image", "stem_relu", "pool", "logits", "head_relu"]
    for block, expands in ((0, False), (1, True), (2, True)):
        expected += [f"block{block}_expand_relu"] if expands else []
        expected += [f"block{block}_depthwise_relu", f"block{block}_project_conv"]
    expected += ["block0_add", "block2_add"]
    assert sorted(r.source for r in activation_ranges(quantized[0])) == sorted(expected)


def test_the_input_grid_holds_every_pixel_exactly(quantized):
    qat_model, _ = quantized
    pixels = np.arange(256, dtype=np.float32)
    image = np.broadcast_to(((pixels - 128) / 128)[:, None, None], (256, 1, 3))
    layer = qat_model.get_layer(scheme.INPUT_QUANTIZER_NAME)
    np.testing.assert_array_equal(layer(image[None]), image[None])


def test_an_unset_range_gives_zeros(unset_model, images):
    assert not np.any(unset_model(images[:2]))


def test_mixed_precision_is_refused():
    x = keras.Input((4, 4, 2))
    model = keras.Model(x, layers.Conv2D(2, 1, dtype="mixed_bfloat16", name="half")(x))
    with pytest.raises(UserError, match="'half' computes in bfloat16"):
        scheme.quantize(model)


class Doubled(layers.Layer):
    """A user's own layer."""

    def call(self, inputs):
        return 2.0 * inputs


def _user_network() -> keras.Model:
    x = keras.Input((6, 6, 4))
    a = layers.Conv2D(4, 3, padding="same", activation="relu6", name="first")(x)
    y = a + layers.Conv2D(4, 1, name="second")(a)
    return keras.Model(x, layers.Conv2D(3, 1, name="last")(Doubled(name="doubled")(y)))


def test_what_tfmot_leaves_out_of_a_users_network_is_inserted_and_listed():
    model = _user_network()
    qat_model, rewritten, changes = scheme.quantize(model)
    inputs = np.random.default_rng(0).uniform(-1, 0.99, (8, 6, 6, 4)).astype(np.float32)
    ranges.calibrate(rewritten, qat_model, [inputs])
    sources = {r.source for r in activation_ranges(qat_model)}
    assert {"first_relu", "second", "doubled", "last"} <= sources
    # tfmot's own rule for convolution + ReLU leaves the kernel of `first` in float.
    assert [k.source for k in kernel_ranges(qat_model)] == ["first", "second", "last"]
    listed = {change.layer: change.action for change in changes}
    assert "a quantizer was put after this Doubled" in listed["doubled"]
    assert any("became an Add layer" in action for action in listed.values())
    error = np.abs(qat_model(inputs) - model(inputs)).max()
    assert 0 < error < 0.1 * np.abs(model(inputs)).max()


def test_depth_multipliers_are_refused():
    x = keras.Input((4, 4, 2))
    model = keras.Model(x, layers.DepthwiseConv2D(3, depth_multiplier=2, name="twofold")(x))
    with pytest.raises(UserError, match="'twofold' has depth multiplier 2"):
        scheme.quantize(model)


@pytest.fixture(scope="module")
def graph_of_file(converted):
    """The flatbuffer of a fake-quantized network, as plain data."""
    from quant import flatbuffer

    return flatbuffer.parse(converted[1]).main


def test_the_file_has_only_integer_tensors(graph_of_file):
    assert not [t.name for t in graph_of_file.tensors if t.is_float]
    assert [op.name for op in graph_of_file.operators].count("QUANTIZE") <= 2  # at the two ends


def test_the_files_depthwise_channels_are_full(graph_of_file):
    kernels = [
        graph_of_file.tensors[op.inputs[1]]
        for op in graph_of_file.operators
        if op.name == "DEPTHWISE_CONV_2D"
    ]
    assert len(kernels) == 3
    for kernel in kernels:
        np.testing.assert_array_equal(np.abs(kernel.values.astype(int)).max(axis=(0, 1, 2)), 127)
