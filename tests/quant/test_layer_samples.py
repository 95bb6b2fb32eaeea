"""A layer's samples against its own convolution, and the walk through both networks."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from quant import layer_samples, ranges, scheme
from quant.layer_walk import CHUNK, _Outputs, walk
from quant.quantizer_list import kernel_ranges

layers = keras.layers


def _kernel_and_layer(layer):
    x = keras.Input((9, 9, 4))
    model = keras.Model(x, layer(x))
    qat_model, folded, _ = scheme.quantize(model)
    return kernel_ranges(qat_model)[0], folded.layers[-1]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("depthwise", [False, True])
def test_patches_times_weights_are_the_layers_outputs(padding, depthwise):
    kind = layers.DepthwiseConv2D(3, 2, padding) if depthwise else layers.Conv2D(5, 3, 2, padding)
    kernel, layer = _kernel_and_layer(kind)
    given = np.random.default_rng(0).normal(size=(CHUNK + 3, 9, 9, 4)).astype(np.float32)
    wanted = layer(given).numpy()
    positions = layer_samples.draw_positions(kernel, wanted.shape, np.random.default_rng(1))
    samples = layer_samples.take(kernel, given, wanted, positions)
    weights = kernel.kernel.numpy()
    if depthwise:
        outputs = np.einsum("mdc,dc->mc", samples.patches, weights.reshape(9, 4))
    else:
        outputs = samples.patches @ weights.reshape(-1, 5)
    np.testing.assert_allclose(outputs + kernel.bias.numpy(), samples.targets, atol=1e-5)
    assert samples.patches.dtype == samples.targets.dtype == np.float64
    chosen = np.arange(len(samples.targets)) % 2 == 0
    np.testing.assert_array_equal(samples.at(chosen).targets, samples.targets[::2])
    np.testing.assert_array_equal(samples.at(chosen).patches, samples.patches[::2])


@pytest.mark.parametrize("depthwise, total", [(False, 12000), (True, 4000)])
def test_positions_are_many_different_and_ascending(depthwise, total):
    kernel, _ = _kernel_and_layer(layers.DepthwiseConv2D(3) if depthwise else layers.Conv2D(2, 3))
    shape = (45, 40, 50, 4)  # chunks of 20, 20 and 5 images
    found = layer_samples.draw_positions(kernel, shape, np.random.default_rng(0))
    assert [len(p) for p in found] == [-(-total // 3)] * 3
    for positions, images in zip(found, (20, 20, 5)):
        assert (np.diff(positions) > 0).all() and 0 <= positions[0] and positions[-1] < images * 2000
    again = layer_samples.draw_positions(kernel, shape, np.random.default_rng(0))
    other = layer_samples.draw_positions(kernel, shape, np.random.default_rng(1))
    np.testing.assert_array_equal(found[0], again[0])
    assert not np.array_equal(found[0], other[0])


def test_of_small_outputs_all_positions_are_taken():
    kernel, _ = _kernel_and_layer(layers.Conv2D(2, 3))
    found = layer_samples.draw_positions(kernel, (23, 1, 1, 2), np.random.default_rng(0))
    assert [p.tolist() for p in found] == [list(range(20)), list(range(3))]


def test_judges_are_the_positions_of_held_out_images():
    held = np.zeros(25, bool)
    held[[3, 21]] = True
    positions = [np.array([0, 11, 12, 15, 16, 79]), np.array([3, 4, 7, 8])]  # four to an image
    found = layer_samples.judges(held, positions, (25, 2, 2, 7))
    assert found.tolist() == [False, False, True, True, False, False, False, True, True, False]


def _pair():
    """A network with a shortcut, and its quantized form, calibrated."""
    keras.utils.set_random_seed(2)
    image = keras.Input((6, 6, 3))
    x = layers.ReLU(6.0, name="r")(layers.Conv2D(4, 3, padding="same", name="a")(image))
    y = layers.Conv2D(4, 1, name="b")(layers.DepthwiseConv2D(3, padding="same", name="d")(x))
    model = keras.Model(image, layers.Add(name="sum")([x, y]))
    qat_model, folded, _ = scheme.quantize(model)
    images = np.random.default_rng(0).integers(-128, 128, (CHUNK + 5, 6, 6, 3)).astype(np.float32) / 128
    ranges.calibrate(folded, qat_model, [images])
    return folded, qat_model, images


def test_a_layer_gets_what_quantized_layers_give_and_is_wanted_as_in_float():
    folded, qat_model, images = _pair()
    seen = []
    for layer, given, wanted in walk(folded, qat_model, images):
        source = layer.inbound_nodes[0].input_tensors
        source = source[0] if isinstance(source, list) else source
        np.testing.assert_allclose(given, keras.Model(qat_model.input, source)(images), atol=1e-6)
        counterpart = folded.get_layer(layer.layer.name)
        np.testing.assert_allclose(wanted, keras.Model(folded.input, counterpart.output)(images), atol=1e-5)
        seen.append(layer.layer.name)
    assert seen == [layer.name for layer in folded.layers[1:]]


def test_what_the_receiver_changes_is_computed_as_changed():
    folded, qat_model, images = _pair()
    kernels = {k.layer.name: k for k in kernel_ranges(qat_model)}
    given_to = {}
    for layer, given, _ in walk(folded, qat_model, images):
        given_to[layer.layer.name] = given
        if layer.layer.name == "a":
            kernels[layer.name].bias.assign(tf.fill([4], -100.0))  # below zero, so ReLU gives zeros
    assert np.abs(given_to["a"]).max() > 0 and np.abs(given_to["d"]).max() == 0


def test_outputs_are_kept_until_their_last_reader():
    folded, _, images = _pair()
    outputs, held = _Outputs(folded, images), []
    for layer in folded.layers[1:]:
        outputs.compute(layer)
        held.append(sorted(outputs._values))
    assert held == [["a"], ["r"], ["d", "r"], ["b", "r"], ["sum"]]
