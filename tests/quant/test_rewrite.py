"""Rewriting leaves the function as it is, and refuses what it cannot rewrite."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from nas_tf.base.errors import UserError
from quant.rewrite import folded_weights, rewrite

layers = keras.layers


def _batch_norm_layers(model) -> list:
    return [la for la in model.layers if isinstance(la, layers.BatchNormalization)]


def test_folding_keeps_the_outputs(float_network, images):
    rewritten, changes = rewrite(float_network)
    assert not _batch_norm_layers(rewritten) and not changes
    np.testing.assert_allclose(rewritten(images), float_network(images), atol=1e-5)


def test_without_folding_batch_norms_stay(float_network, images):
    rewritten, _ = rewrite(float_network, fold=False)
    assert len(_batch_norm_layers(rewritten)) == len(_batch_norm_layers(float_network))
    np.testing.assert_array_equal(rewritten(images), float_network(images))


def test_folded_weights_follow_the_formula():
    convolution, batch_norm = layers.Conv2D(1, 1), layers.BatchNormalization(epsilon=0.0)
    batch_norm(convolution(np.zeros((1, 1, 1, 1), np.float32)))
    convolution.set_weights([np.full((1, 1, 1, 1), 3.0), np.array([1.0])])
    batch_norm.set_weights([np.array([2.0]), np.array([5.0]), np.array([7.0]), np.array([16.0])])
    kernel, bias = folded_weights(convolution, batch_norm)
    # scale = 2 / 4; kernel 3 · 0.5; bias 5 + (1 − 7) · 0.5
    assert kernel.ravel() == pytest.approx([1.5]) and bias == pytest.approx([2.0])


def _odd_forms() -> keras.Model:
    x = keras.Input((6, 6, 4))
    a = layers.Conv2D(4, 3, padding="same", activation="relu6", name="stand_alone")(x)
    b = tf.nn.relu6(layers.Conv2D(4, 1, name="second")(a))
    total = a + b
    return keras.Model(x, layers.Activation("relu6")(layers.DepthwiseConv2D(3, name="third")(total)))


def test_odd_spellings_become_layers_that_compute_the_same():
    model = _odd_forms()
    rewritten, changes = rewrite(model)
    inputs = np.random.default_rng(0).normal(0, 3, (5, 6, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(rewritten(inputs), model(inputs), atol=1e-6)
    kinds = [type(layer).__name__ for layer in rewritten.layers]
    assert kinds.count("ReLU") == 3 and kinds.count("Add") == 1
    assert "TFOpLambda" not in kinds and "Activation" not in kinds
    assert len(changes) == 4
    assert any("x + y became an Add layer" in change.action for change in changes)


def test_the_model_itself_is_left_alone(float_network):
    before = [layer.name for layer in float_network.layers]
    weights = float_network.get_weights()
    rewrite(float_network)
    assert [layer.name for layer in float_network.layers] == before
    for old, new in zip(weights, float_network.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_a_batch_norm_elsewhere_is_refused():
    x = keras.Input((4, 4, 2))
    y = layers.BatchNormalization(name="lonely")(layers.ReLU()(layers.Conv2D(2, 1)(x)))
    with pytest.raises(UserError, match="batch norm 'lonely' follows"):
        rewrite(keras.Model(x, y))


def test_a_shared_layer_is_refused():
    x = keras.Input((4, 4, 2))
    shared = layers.Conv2D(2, 1, name="twice")
    with pytest.raises(UserError, match="'twice' is called 2 times"):
        rewrite(keras.Model(x, shared(shared(x))))


def test_a_model_inside_the_model_is_refused():
    x = keras.Input((4, 4, 2))
    inner = keras.Sequential([layers.Conv2D(2, 1)], name="inner")
    with pytest.raises(UserError, match="'inner' is a model inside the model"):
        rewrite(keras.Model(x, inner(x)))


def test_a_subclassed_model_is_refused():
    class Custom(keras.Model):
        """Has no graph to look at."""

        def call(self, inputs):
            return inputs

    with pytest.raises(UserError, match="not a functional Keras model"):
        rewrite(Custom())
