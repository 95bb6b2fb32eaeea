"""Which tensors may be scaled, and by how much, on networks of a few layers."""

import numpy as np
import pytest
import tf_keras as keras

from quant import equalization
from quant.equalization import channel_gains, equalize, find_streams

layers = keras.layers


def _network(*between, head=True):
    """conv a → between → conv b → conv c."""
    x = keras.Input((4, 4, 3))
    y = layers.Conv2D(4, 1, name="a")(x)
    for layer in between:
        y = layer(y)
    y = layers.Conv2D(2, 1, name="b")(y)
    return keras.Model(x, layers.Conv2D(2, 1, name="c")(y) if head else y)


def _streams(model):
    return {s.tensors: s for s in find_streams(model)}


def test_plain_convolutions_are_linear_streams():
    found = _streams(_network())
    assert {t: (s.producers, s.consumers, s.limit) for t, s in found.items()} == {
        ("a",): (("a",), ("b",), None),
        ("b",): (("b",), ("c",), None),
    }  # c is the output


def test_a_relu_with_a_limit_is_a_stream_of_its_convolution():
    found = _streams(_network(layers.ReLU(6.0, name="r")))
    assert ("a",) not in found  # by the ReLU's own stream
    assert (found[("r",)].producers, found[("r",)].consumers, found[("r",)].limit) == (("a",), ("b",), 6.0)


@pytest.mark.parametrize(
    "relu",
    [{"max_value": None}, {"max_value": 6.0, "negative_slope": 0.1}, {"max_value": 6.0, "threshold": 0.5}],
)
def test_relus_that_do_not_scale_are_left_alone(relu):
    found = _streams(_network(layers.ReLU(name="r", **relu)))
    assert set(found) == {("b",)}


@pytest.mark.parametrize(
    "name, layer", [("tanh", layers.Activation("tanh")), ("pool", layers.MaxPooling2D(1))]
)
def test_other_layers_between_are_left_alone(name, layer):
    assert set(_streams(_network(layer))) == {("b",)}, name


def test_a_convolution_without_bias_is_left_alone():
    x = keras.Input((4, 4, 3))
    y = layers.Conv2D(4, 1, use_bias=False, name="a")(x)
    model = keras.Model(x, layers.Conv2D(2, 1, name="b")(y))
    assert not find_streams(model)


def test_a_convolution_that_is_read_beside_its_relu_is_left_alone():
    x = keras.Input((4, 4, 3))
    y = layers.Conv2D(4, 1, name="a")(x)
    rest = layers.Conv2D(2, 1, name="b")(layers.ReLU(6.0, name="r")(y))
    model = keras.Model(x, layers.Concatenate()([layers.Conv2D(2, 1, name="c")(y), rest]))
    assert not find_streams(model)


def test_padding_belongs_to_what_it_pads():
    found = _streams(_network(layers.ReLU(6.0, name="r"), layers.ZeroPadding2D(1, name="pad")))
    (stream,) = (s for t, s in found.items() if "pad" in t)
    assert set(stream.tensors) == {"r", "pad"} and stream.consumers == ("b",)


def test_an_output_is_left_alone_though_another_layer_reads_it():
    x = keras.Input((4, 4, 3))
    y = layers.Conv2D(4, 1, name="a")(x)
    model = keras.Model(x, [y, layers.Conv2D(2, 1, name="b")(y)])
    assert not find_streams(model)


def test_residual_sums_are_one_stream():
    x = keras.Input((4, 4, 3))
    sums = layers.Conv2D(4, 1, name="a")(x)
    for index in (1, 2):
        inner = layers.Conv2D(5, 1, name=f"wide{index}")(sums)
        sums = layers.Add(name=f"sum{index}")([sums, layers.Conv2D(4, 1, name=f"back{index}")(inner)])
    model = keras.Model(x, layers.Conv2D(2, 1, name="d")(sums))
    found = {s.producers[0]: s for s in find_streams(model)}
    assert set(found) == {"a", "wide1", "wide2"}
    assert set(found["a"].tensors) == {"a", "back1", "back2", "sum1", "sum2"}
    assert set(found["a"].producers) == {"a", "back1", "back2"}
    assert set(found["a"].consumers) == {"wide1", "wide2", "d"}


@pytest.mark.xfail(strict=True, reason="what reads a stream and adds to it is no consumer yet")
def test_a_convolution_that_reads_the_sum_it_adds_to_keeps_the_function(x):
    keras.utils.set_random_seed(0)
    given = keras.Input((4, 4, 3))
    a = layers.Conv2D(4, 1, name="a")(given)
    both = layers.Add(name="s")([a, layers.Conv2D(4, 1, name="b")(a)])
    model = keras.Model(given, layers.Conv2D(2, 1, name="d")(both))
    before = model(x).numpy()
    equalize(model, [x])
    np.testing.assert_allclose(model(x), before, rtol=1e-4, atol=1e-4)


def _scaled(model, x, **powers):
    """(channels changed, gain of each channel of a, largest change of the output)."""
    kernel, before = model.get_layer("a").get_weights()[0], model(x).numpy()
    changed = equalize(model, [x[:2], x[2:]], **powers)
    gain = model.get_layer("a").get_weights()[0] / kernel
    np.testing.assert_allclose(gain, np.broadcast_to(gain[:1, :1, :1], gain.shape), rtol=1e-5)
    return changed, gain[0, 0, 0], np.abs(model(x).numpy() - before).max()


def _peaks(model, x, name):
    return np.abs(keras.Model(model.input, model.get_layer(name).output)(x).numpy()).max((0, 1, 2))


@pytest.fixture
def x():
    return np.random.default_rng(0).uniform(0.1, 1.0, (5, 4, 4, 3)).astype(np.float32)


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_linear_channels_are_brought_together(x, power):
    keras.utils.set_random_seed(0)
    model = _network()
    peak = _peaks(model, x, "a")  # over both batches
    changed, gain, difference = _scaled(model, x, linear_power=power)
    np.testing.assert_allclose(gain, np.minimum((peak.max() / peak) ** power, 16.0), rtol=1e-4)
    # The largest of 4 channels stays, and the larger of the 2 of b.
    assert sum(np.count_nonzero(g != 1) for g in changed.values()) == 3 + 1 and difference < 1e-4


@pytest.mark.parametrize(
    "consumer, power",
    [(lambda: layers.Conv2D(2, 1, name="b"), 0.3), (lambda: layers.DepthwiseConv2D(1, name="b"), 1.0)],
)
def test_a_depthwise_kernel_pays_nothing_for_a_gain(x, consumer, power):
    keras.utils.set_random_seed(1)
    given = keras.Input((4, 4, 3))
    a = layers.Conv2D(4, 1, name="a", kernel_initializer=keras.initializers.RandomUniform(0.1, 0.9))
    y = consumer()(layers.ReLU(6.0, name="r")(a(given)))
    model = keras.Model(given, layers.Conv2D(2, 1, name="c")(y))
    peak = _peaks(model, x, "r")
    _, gain, difference = _scaled(model, x, linear_power=0.0, pointwise_power=0.3)
    np.testing.assert_allclose(gain, np.clip((0.9 * 6 / peak) ** power, 1, 16), rtol=1e-4)
    assert difference < 1e-4


def test_gains_at_their_bounds():
    # A channel over the limit's headroom is not made smaller; one that is dead stays.
    assert channel_gains(np.array([5.9, 5.4, 1e-7, 1e-3]), 6.0, 1.0).tolist() == [1, 1, 1, 16]
    assert channel_gains(np.array([3.0, 0.03]), None, 1.0) == pytest.approx([1.0, 16.0])
    assert channel_gains(np.array([3.0, 0.03]), None, 0.5) == pytest.approx([1.0, 10.0])
    assert channel_gains(np.zeros(2), None, 1.0).tolist() == [1, 1]


def test_biases_are_scaled_along():
    layer = layers.Conv2D(2, 1)
    layer.build((None, 4, 4, 3))
    kernel = np.arange(6.0).reshape(1, 1, 3, 2)
    layer.set_weights([kernel, np.array([1.0, -1.0])])
    equalization._scale_outputs(layer, np.array([2.0, 3.0]))
    np.testing.assert_array_equal(layer.get_weights()[0], kernel * [2.0, 3.0])
    np.testing.assert_array_equal(layer.get_weights()[1], [2.0, -3.0])
    equalization._scale_inputs(layer, np.array([1.0, 10.0, 100.0]))
    np.testing.assert_array_equal(
        layer.get_weights()[0], kernel * [2.0, 3.0] * np.array([1.0, 10.0, 100.0])[:, None]
    )
    np.testing.assert_array_equal(layer.get_weights()[1], [2.0, -3.0])
