"""The layers of a network: shapes, initial values, padding, by hand."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from nas_tf.network import layers
from nas_tf.network.build import build_network
from nas_tf.space.architecture import from_string
from nas_tf.space.layer_spec import BlockSpec, ClassifierSpec, HeadSpec, StemSpec
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck
from nas_tf.space.operations.zero import ZERO


def _image(size: int = 5, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, size, size, channels)).astype(np.float32)


@pytest.mark.parametrize("kernel, filters", [(1, 96), (3, 32), (5, 1)])
def test_initial_kernels_have_the_variance_of_he(kernel, filters):
    values = layers.he_fan_out(kernel, filters)([kernel, kernel, 4000, filters])
    number = values.numpy().size
    # The estimate of a normal's variance from n draws has a relative deviation of √(2 / n).
    assert np.var(values) == pytest.approx(2 / (kernel**2 * filters), rel=4 * np.sqrt(2 / number))
    assert abs(np.mean(values)) < 4 * np.sqrt(2 / (kernel**2 * filters) / number)


def test_a_border_has_the_colour_of_its_channel():
    image = _image()
    padded = layers.BorderPadding2D(2, [0.25, -1.0, 3.0])(tf.constant(image)).numpy()
    expected = np.empty([2, 9, 9, 3], np.float32)
    expected[...] = [0.25, -1.0, 3.0]
    expected[:, 2:7, 2:7] = image
    np.testing.assert_array_equal(padded, expected)


def test_a_border_survives_saving():
    layer = layers.BorderPadding2D(1, np.float32([0.5, 0.5, 0.0]), name="edge")
    again = layers.BorderPadding2D.from_config(layer.get_config())
    assert (again.name, again.padding, again.border) == ("edge", 1, [0.5, 0.5, 0.0])


@pytest.mark.parametrize("size", [5, 6])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_symmetric_padding_is_that_of_pytorch(size, kernel):
    """Half a kernel of zeros on every side, where SAME puts more behind than in front."""
    first = layers.convolution(4, kernel, 2, "c", layers.Style("symmetric"), relu=False)[:-1]
    image = _image(size)
    found = layers.apply_chain(first, tf.constant(image))
    half = kernel // 2
    padded = np.pad(image, [(0, 0), (half, half), (half, half), (0, 0)])
    np.testing.assert_allclose(found, tf.nn.conv2d(padded, first[-1].kernel, 2, "VALID"), atol=1e-5)
    assert found.shape[1] == (size + 2 * half - kernel) // 2 + 1


def test_with_stride_1_both_paddings_are_the_same():
    same, symmetric = (
        layers.depthwise(3, 1, "d", layers.Style(padding)) for padding in ("same", "symmetric")
    )
    assert [type(layer).__name__ for layer in same] == ["DepthwiseConv2D", "BatchNormalization", "ReLU"]
    assert [type(layer) for layer in symmetric] == [type(layer) for layer in same]
    assert symmetric[0].padding == same[0].padding == "same"


def test_an_inverted_bottleneck_is_linear_behind_its_projection():
    spec = BlockSpec(6, 8, 8, stride=1, operation=InvertedBottleneck(3, 5))
    chain = layers.operation_layers(spec, "b")
    kinds = [type(layer).__name__ for layer in chain]
    one = ["Conv2D", "BatchNormalization", "ReLU"]
    assert kinds == [*one, "DepthwiseConv2D", *one[1:], *one[:2]]
    assert (chain[0].filters, chain[3].kernel_size, chain[6].filters) == (24, (5, 5), 8)
    assert len({layer.name for layer in chain}) == len(chain)


def test_a_block_adds_its_shortcut_and_zero_is_the_shortcut_alone():
    x = keras.Input([6, 6, 8])
    spec = BlockSpec(6, 8, 8, stride=1, operation=InvertedBottleneck(3, 3))
    model = keras.Model(x, layers.build_operation(x, spec, "b"))
    image = tf.constant(_image(6, 8))
    branch = layers.apply_chain(model.layers[1:-1], image)
    np.testing.assert_allclose(model(image), image + branch, atol=1e-6)
    skipped = BlockSpec(6, 8, 8, stride=1, operation=ZERO)
    assert layers.operation_layers(skipped, "z") == [] and layers.build_operation(x, skipped, "z") is x
    strided = BlockSpec(6, 8, 8, stride=2, operation=InvertedBottleneck(3, 3))
    assert not any(
        isinstance(layer, keras.layers.Add)
        for layer in keras.Model(x, layers.build_operation(x, strided, "s")).layers
    )


def test_stem_head_and_classifier_by_their_shapes():
    x = keras.Input([16, 16, 3])
    y = layers.build_stem(x, StemSpec(16, 3, 8, stride=2))
    assert y.shape == (None, 8, 8, 8)
    after = layers.layers_after((HeadSpec(8, 8, 24), ClassifierSpec(8, 24, 10)))
    y = layers.apply_chain(after[:-2], y)
    assert y.shape == (None, 1, 1, 24)
    logits = layers.apply_chain(after[-2:], y)
    assert logits.shape == (None, 10) and logits.dtype == tf.float32
    dropped = layers.classifier_layers(10, 0.2)
    assert [layer.name for layer in dropped] == ["dropout", "logits", "flatten"] and dropped[0].rate == 0.2


def test_a_stem_pads_with_the_image_border_if_there_is_one():
    x = keras.Input([16, 16, 3])
    spec = StemSpec(16, 3, 8, stride=2)
    kinds = [
        [
            type(layer)
            for layer in keras.Model(x, layers.build_stem(x, spec, layers.Style("symmetric"), border)).layers
        ][1]
        for border in ((0.0, 0.0, 0.0), (0.0, 0.5, 0.0))
    ]
    assert kinds == [keras.layers.ZeroPadding2D, layers.BorderPadding2D]


def test_relu_where_the_network_has_relu():
    network = from_string("s8x2 C1_3c8x2 U2_30c16x2 U2_33c16 h24 f32 relu")
    model = build_network(network, 32, 10)
    limits = {layer.name: layer.max_value for layer in model.layers if isinstance(layer, keras.layers.ReLU)}
    assert set(limits.values()) == {None}
    # Linear are the projections of bottlenecks and what stands before an expansion, and nothing else.
    assert "block0_project_relu" in limits and "features_relu" in limits
    assert not any(
        "start" in name or name in ("block1_project_relu", "block2_project_relu") for name in limits
    )
    plain = build_network(from_string(network.to_string().removesuffix(" relu")), 32, 10)
    assert {float(la.max_value) for la in plain.layers if isinstance(la, keras.layers.ReLU)} == {6.0}
    names = [layer.name for layer in model.layers]
    assert names.index("pool") < names.index("features_conv") < names.index("logits")
