"""Chains with given weights against Keras' own layers and the closed forms of their gradients."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from nas_tf.network import layers
from nas_tf.space.layer_spec import BlockSpec
from nas_tf.space.operations.fused_bottleneck import FusedBottleneck
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck
from nas_tf.supernet import gate_values
from nas_tf.supernet.chains import Chain
from nas_tf.supernet.gate_values import gate_value, moments_of
from nas_tf.supernet.paths import Path, PathKind, shared_functions
from nas_tf.supernet.places import make_place

WIDTH = 8


def _layers(expansion: int, kernel: int, stride: int = 1):
    spec = BlockSpec(6, WIDTH, WIDTH, stride=stride, operation=InvertedBottleneck(expansion, kernel))
    return layers.operation_layers(spec, "block")


def _chain(expansion: int = 3, kernel: int = 5, stride: int = 1) -> Chain:
    return Chain(_layers(expansion, kernel, stride), WIDTH)


@pytest.fixture
def image():
    return tf.constant(np.random.default_rng(0).normal(1.0, 2.0, (4, 6, 6, WIDTH)), tf.float32)


def _random(size, seed=1) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).normal(0.3, 0.5, size), tf.float32)


def test_the_output_is_that_of_the_keras_layers(image):
    chain, plain = _chain(), keras.Sequential(_layers(3, 5))
    plain.build(image.shape)
    weights = _random(len(chain.initial_weights()))
    for variable, value in zip(plain.trainable_weights, chain.unpack(weights), strict=True):
        variable.assign(value)
    expected = plain(image, training=True)
    y, moved = chain.run(image, weights, tf.constant(chain.initial_statistics()))
    np.testing.assert_allclose(y, expected, atol=1e-5)
    for ours, theirs in zip(chain.unpack_statistics(moved), plain.non_trainable_weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_layout_gives_a_chain_the_shapes_of_another(image):
    own, other = _chain(3, 3), _chain(6, 7)
    assert own.form == other.form != _chain(3, 3, stride=2).form
    weights = _random(len(other.initial_weights()))
    np.testing.assert_array_equal(
        own.run(image, weights, None, other.layout)[0], other.run(image, weights)[0]
    )


@pytest.mark.parametrize("with_layout", [False, True])
def test_weight_decay_enters_the_gradients_of_kernels_alone(image, with_layout):
    chain = _chain()
    weights, layout = _random(len(chain.initial_weights())), chain.layout if with_layout else None
    gradients = []
    for decay in (0.0, 0.25):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            y, _ = chain.run(image, weights, None, layout, weight_decay=decay)
            loss = tf.reduce_sum(y**2)
        gradients.append(tape.gradient(loss, weights))
    difference = chain.unpack(gradients[1] - gradients[0])
    scale = float(tf.reduce_max(tf.abs(gradients[0])))
    for found, value in zip(difference, chain.unpack(weights), strict=True):
        expected = 0.25 * value if len(value.shape) == 4 else tf.zeros_like(value)
        np.testing.assert_allclose(found, expected, atol=1e-6 * scale)


@pytest.mark.parametrize("expansion", [1, 6])
def test_a_gate_value_is_the_product_with_the_output(image, expansion):
    chain = _chain(expansion, 3)
    weights, gradient = _random(len(chain.initial_weights())), _random(image.shape, seed=2)
    expected = np.sum(chain.run(image, weights)[0].numpy().astype(np.float64) * gradient.numpy())
    found = gate_value(chain, image, gradient, weights, None, moments_of(image))
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_moments_are_mean_and_covariance(image):
    rows = image.numpy().reshape(-1, WIDTH)
    mean, covariance = moments_of(image)
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(covariance, np.cov(rows.T, bias=True), rtol=1e-4, atol=1e-4)


def test_initial_values_are_the_layers_own():
    chain = _chain(6, 3)
    expand, scale, shift, *_ = chain.unpack(chain.initial_weights())
    # He: variance 2 / (kernel² · filters); its estimate from n draws is within 3 · √(2 / n).
    assert np.var(expand) == pytest.approx(2 / (6 * WIDTH), rel=3 * np.sqrt(2 / expand.numpy().size))
    assert np.all(scale == 1) and np.all(shift == 0)
    assert not np.array_equal(chain.initial_weights(), chain.initial_weights())


def test_a_layer_with_other_weights_is_refused():
    with pytest.raises(TypeError, match="Dense cannot be part of a path"):
        Chain([keras.layers.Dense(3)], 4)


def test_candidates_of_a_block_have_all_a_shortcut_or_none():
    kind = PathKind(_chain(), shared_functions(_chain()))
    with pytest.raises(ValueError, match="either all a shortcut or none"):
        make_place([Path(kind, True), Path(kind, False)])


def test_only_a_plain_1x1_convolution_with_its_batch_norm_is_folded():
    def folds(operation, stride=1):
        spec = BlockSpec(8, 8, 8 * stride, stride, operation)
        return gate_values._folds(layers.operation_layers(spec, "block"))

    assert folds(InvertedBottleneck(3, 5)) and folds(InvertedBottleneck(3, 5), 2)
    assert folds(FusedBottleneck(3, 1))
    # A depthwise convolution, a dense one that is larger, and one that skips positions.
    assert not folds(InvertedBottleneck(1, 3)) and not folds(FusedBottleneck(3, 3))
    assert not folds(FusedBottleneck(3, 1), 2)
