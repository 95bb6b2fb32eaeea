"""Where weights lie in a flat vector, and what gradient comes back through them."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from nas_tf.supernet.chain_weights import Place, layout_of, places_in, places_of, take, weights_of

CHANNELS = 3


def _layers() -> list[keras.layers.Layer]:
    """Of every kind that a chain may hold: 3 → 4 → 4 → 5 channels."""
    return [
        keras.layers.Conv2D(4, 1, use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(6.0),
        keras.layers.ZeroPadding2D(1),
        keras.layers.DepthwiseConv2D(3, use_bias=False),
        keras.layers.GlobalAveragePooling2D(keepdims=True),
        keras.layers.Conv2D(5, 1),
        keras.layers.Flatten(),
    ]


def test_weights_are_those_that_keras_makes():
    model = keras.Sequential(_layers())
    model.build([None, 6, 6, CHANNELS])
    weights = weights_of(_layers(), CHANNELS)
    assert [w.shape for w in weights] == [tuple(v.shape) for v in model.trainable_weights]
    assert [(w.layer, w.name, w.size) for w in weights] == [
        (0, "kernel", 12),
        (1, "gamma", 4),
        (1, "beta", 4),
        (4, "depthwise_kernel", 36),
        (6, "kernel", 20),
        (6, "bias", 5),
    ]
    assert [w.decays for w in weights] == [True, False, False, True, True, False]


def test_initial_values_are_drawn_by_each_weights_own_initializer():
    twos, sevens = keras.initializers.Constant(2.0), keras.initializers.Constant(7.0)
    layers = [
        keras.layers.Conv2D(2, 1, kernel_initializer=twos, bias_initializer="ones"),
        keras.layers.DepthwiseConv2D(1, use_bias=False, depthwise_initializer=sevens),
    ]
    values = [w.initial().tolist() for w in weights_of(layers, CHANNELS)]
    assert values == [[2.0] * 6, [1.0] * 2, [7.0] * 2]


def test_a_random_initializer_is_drawn_anew_every_time():
    (weight,) = weights_of([keras.layers.Conv2D(4, 3, use_bias=False)], CHANNELS)
    assert not np.array_equal(weight.initial(), weight.initial())


@pytest.mark.parametrize(
    "layer", [keras.layers.Dense(3), keras.layers.PReLU(), keras.layers.LayerNormalization()]
)
def test_a_layer_with_other_weights_is_refused_by_its_name(layer):
    with pytest.raises(TypeError, match=f"^{type(layer).__name__} cannot be part of a path.$"):
        weights_of([*_layers(), layer], CHANNELS)


def test_places_follow_one_another_without_a_gap():
    places = places_of(weights_of(_layers(), CHANNELS))
    assert [(place.start, place.size) for place in places] == [
        ([0], [12]),
        ([12], [4]),
        ([16], [4]),
        ([20], [36]),
        ([56], [20]),
        ([76], [5]),
    ]


def test_a_layout_says_the_same_as_the_places():
    places = places_of(weights_of(_layers(), CHANNELS))
    layout = layout_of(places)
    assert layout.dtype == tf.int32 and layout.shape == [4 + 1 + 1 + 4 + 4 + 1 + 2 * 6]
    found = places_in(layout, [len(place.shape) for place in places])
    assert [tuple(part.numpy().tolist() for part in place) for place in found] == [
        (list(place.shape), place.size, place.start) for place in places
    ]


PLACES = [Place((2, 3), [6], [0]), Place((4,), [4], [6])]


@pytest.mark.parametrize("as_layout", [False, True])
def test_weights_are_taken_in_their_shapes(as_layout):
    places = places_in(layout_of(PLACES), [2, 1]) if as_layout else PLACES
    matrix, vector = take(tf.range(10.0), places, [True, False], 0.5)
    np.testing.assert_array_equal(matrix, [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(vector, [6, 7, 8, 9])


@pytest.mark.parametrize("decay", [0.0, 0.25])
def test_the_gradient_is_that_of_the_loss_and_of_the_decay(decay):
    """Of Σ c·w + decay/2 · Σ kernels², where c counts up: c + decay · w, and c alone for the others."""
    flat = tf.linspace(-1.0, 1.0, 10)
    factors = tf.range(10.0)
    with tf.GradientTape() as tape:
        tape.watch(flat)
        matrix, vector = take(flat, PLACES, [True, False], decay)
        loss = tf.reduce_sum(tf.reshape(matrix, [-1]) * factors[:6]) + tf.reduce_sum(vector * factors[6:])
    expected = factors.numpy()
    expected[:6] += decay * flat.numpy()[:6]
    np.testing.assert_allclose(tape.gradient(loss, flat), expected, rtol=1e-6)
