"""The background class at its bounds, and what is refused."""

import dataclasses

import numpy as np
import pytest

from export import background
from export.background import DEFAULT_MARGIN_STEPS, MIN_MARGIN_STEPS, Background, Classifier
from nas_tf.base.errors import UserError
from quant.flatbuffer import Graph, Operator, Tensor


def _tensor(dtype="int8", values=None, scales=(0.1,), shape=(1, 2), name="t"):
    shape = values.shape if values is not None else shape
    return Tensor(0, name, dtype, shape, np.array(scales), np.zeros(len(scales), np.int64), 0, values)


def _weights(rows, **given):
    return _tensor(values=np.array(rows, np.int8), **given)


def _bias(values, dtype=np.int32):
    return _tensor(np.dtype(dtype).name, np.array(values, dtype))


def _classifier(weights, bias):
    return Classifier(_tensor(scales=(0.5,)), weights, bias, _tensor(scales=(0.25,), shape=(1, 3)))


def _graph(*operators, tensors=None):
    tensors = tensors or (
        _tensor(name="x"),
        _weights([[1, 2], [3, 4]]),
        _bias([5, 6]),
        _tensor(name="a"),
        _weights([[7, 8], [9, 10]]),
        _bias([11, 12]),
        _tensor(name="b"),
        _tensor(name="c"),
    )
    return Graph("main", tensors, operators, (0,), (7,))


def test_two_classes_are_enough_and_the_other_one_is_the_source():
    for seed in range(5):
        assert background.choose(np.array([0.5, -0.5]), seed) == Background(0, -0.5)
        assert background.choose(np.array([-0.5, 0.5]), seed) == Background(1, -0.5)


def test_a_source_all_but_equal_to_the_smallest_is_kept_apart():
    near = background.FLOAT_STEP * MIN_MARGIN_STEPS
    for gap in (0.0, 0.5 * near, 2 * near):
        chosen = background.choose(np.array([0.0, gap]), 0)
        assert chosen.source == 1
        assert gap - chosen.bias == pytest.approx(max(gap, 1.02 * near))


def test_a_bias_is_lowered_by_the_margin_and_two_percent():
    low = background.lowered(Background(1, 0.9), 1.0, 0.5, 10.0)
    assert low == Background(1, 1.0 - 1.02 * 10.0 * 0.5)
    assert background.lowered(Background(1, 0.9), 1.0, 0.5).bias == pytest.approx(
        1.0 - 1.02 * DEFAULT_MARGIN_STEPS * 0.5
    )


@pytest.mark.parametrize(
    "shape, is_bias", [((4,), True), ((1, 1, 3, 4), False), ((3, 4), False), ((2, 4), True)]
)
def test_the_background_comes_first_and_all_else_stays(shape, is_bias):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    wide = background.extend(values, Background(2, -7.0), is_bias)
    assert wide.dtype == values.dtype and wide.shape == (*shape[:-1], 5)
    np.testing.assert_array_equal(wide[..., 1:], values)
    np.testing.assert_array_equal(wide[..., 0], -7.0 if is_bias else values[..., 2])


def test_the_classifier_is_the_last_convolution_or_dense_layer():
    first = Operator("CONV_2D", (0, 1, 2), (3,))
    for name in ("CONV_2D", "FULLY_CONNECTED"):
        found = background.find_classifier(
            _graph(first, Operator(name, (3, 4, 5), (6,)), Operator("RESHAPE", (6,), (7,)))
        )
        assert (found.input.name, found.output.name) == ("a", "b")
        assert found.weights.values[0, 0] == 7 and found.bias.values[0] == 11
    with pytest.raises(UserError, match="no classifier"):
        background.find_classifier(
            _graph(Operator("RESHAPE", (0,), (7,)), Operator("DEPTHWISE_CONV_2D", (0, 1, 2), (3,)))
        )


def test_a_classifier_needs_a_bias_and_constants():
    with pytest.raises(UserError, match="has no bias"):
        background.find_classifier(_graph(Operator("CONV_2D", (0, 1), (3,))))
    for missing in (1, 2):
        tensors = [_tensor(name="x"), _weights([[1, 2], [3, 4]]), _bias([5, 6]), _tensor(name="a")]
        tensors[missing] = dataclasses.replace(tensors[missing], values=None)
        with pytest.raises(UserError, match="no constant weights"):
            background.find_classifier(_graph(Operator("CONV_2D", (0, 1, 2), (3,)), tensors=tuple(tensors)))


@pytest.mark.parametrize("scales, steps", [((0.04,), 0.04), ((0.04, 0.9, 0.04), 0.04)])
def test_the_margin_of_the_second_class(scales, steps):
    rows = [[3, -4], [5, 6], [3, -4]]
    found = background.margin_steps(_classifier(_weights(rows, scales=scales), _bias([-10, 999, 90])), 1)
    assert found == pytest.approx((90 - -10) * 0.5 * steps / 0.25)


def test_weights_of_any_rank_are_compared_row_by_row():
    rows = np.array([[3, -4], [3, -4], [5, 6]], np.int8).reshape(3, 1, 1, 2)
    assert background.margin_steps(
        _classifier(_tensor(values=rows, scales=(0.04,)), _bias([0, 50, 0])), 0
    ) == pytest.approx(4.0)
    with pytest.raises(UserError, match="differ from those of its source class 1"):
        background.margin_steps(_classifier(_tensor(values=rows, scales=(0.04,)), _bias([0, 50, 0])), 1)


def test_a_bias_of_another_type_proves_nothing():
    with pytest.raises(UserError, match="int8 weights and int64 bias; int8 and int32"):
        background.margin_steps(_classifier(_weights([[1], [1]]), _bias([0, 9], np.int64)), 0)


def test_exactly_enough_is_enough():
    background.require_margin(MIN_MARGIN_STEPS)
    for steps in (np.nextafter(MIN_MARGIN_STEPS, 0), float("inf")):
        with pytest.raises(UserError, match="steps of the int8 logits under its source class"):
            background.require_margin(steps)


def test_a_model_without_a_classifier_is_refused():
    import tf_keras as keras

    x = keras.Input((4,))
    with pytest.raises(UserError, match="no layer named 'logits'"):
        background.classifier_biases(keras.Model(x, keras.layers.Dense(2, name="other")(x)))


@pytest.mark.parametrize("kind", ["float_folder", "qat_folder"])
def test_the_models_own_configuration_stays(kind, request):
    from export.convert_run import load_model

    model, _ = load_model(str(request.getfixturevalue(kind)))
    before, weights = model.get_config(), model.get_weights()
    biases = background.classifier_biases(model)
    wider = background.with_background(model, background.choose(biases, 0))
    assert model.get_config() == before and wider.output_shape[-1] == len(biases) + 1
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for layer in model.layers:
        if not layer.name.endswith("logits"):
            for old, new in zip(layer.get_weights(), wider.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(old, new)
