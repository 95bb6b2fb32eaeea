"""Surgery on a small graph, judged by what the changed model computes."""

import numpy as np
import pytest
import tf_keras as keras

from nas_tf.base.errors import UserError
from quant.graph_config import GraphConfig, copy_weights

layers = keras.layers


@pytest.fixture(name="model")
def model_fixture():
    """image → double (a 1×1 convolution) → (relu, sum); sum = relu + double."""
    image = keras.Input((2, 2, 1), name="image")
    doubled = layers.Conv2D(1, 1, kernel_initializer="ones", name="double")(image)
    relu = layers.ReLU(name="relu")(doubled)
    model = keras.Model(image, layers.Add(name="sum")([relu, doubled]))
    model.get_layer("double").set_weights([np.full((1, 1, 1, 1), 2.0), np.zeros(1)])
    return model


X = np.array([-1.0, 0.0, 1.0, 3.0], np.float32).reshape(1, 2, 2, 1)


def _answers(graph, model):
    built = graph.build()
    copy_weights(model, built)
    return built(X).numpy().ravel().tolist()


def test_reading(model):
    graph = GraphConfig(model)
    assert graph.inputs("sum") == ["relu", "double"] and graph.inputs("image") == []
    assert graph.consumers("double") == ["relu", "sum"] and graph.consumers("sum") == []
    assert graph.class_name("relu") == "ReLU" and graph.settings("double")["filters"] == 1


def test_unchanged_it_computes_the_same_and_leaves_the_model_alone(model):
    graph = GraphConfig(model)
    assert _answers(graph, model) == [-2.0, 0.0, 4.0, 12.0]  # 2x + max(2x, 0)
    graph.settings("double")["filters"] = 7
    assert model.get_layer("double").filters == 1


def test_a_removed_layer_passes_its_input_on(model):
    graph = GraphConfig(model)
    graph.remove("relu")
    assert graph.inputs("sum") == ["double", "double"]
    assert _answers(graph, model) == [-4.0, 0.0, 4.0, 12.0]


def test_only_a_layer_of_one_input_can_be_removed(model):
    with pytest.raises(ValueError, match="unpack"):
        GraphConfig(model).remove("sum")


def test_a_replaced_layer_keeps_name_and_inputs(model):
    graph = GraphConfig(model)
    graph.replace("relu", layers.ReLU(1.0, name="other"))
    assert "other" not in graph.layers
    assert _answers(graph, model) == [-2.0, 0.0, 3.0, 7.0]  # 2x + min(max(2x, 0), 1)


def test_an_inserted_layer_stands_before_all_readers_and_before_the_output(model):
    graph = GraphConfig(model)
    graph.insert_after("double", layers.ReLU(5.0, name="limit"))
    assert graph.inputs("sum") == ["relu", "limit"] and graph.inputs("limit") == ["double"]
    graph.insert_after("sum", layers.ReLU(9.0, name="last"))
    assert _answers(graph, model) == [0.0, 0.0, 4.0, 9.0]
    assert list(graph.layers) == ["image", "double", "limit", "relu", "sum", "last"]


def test_weights_go_by_name_and_shape(model):
    graph = GraphConfig(model)
    graph.settings("double")["filters"] = 1
    graph.settings("double")["use_bias"] = False
    built = graph.build()
    before = built.get_layer("double").get_weights()
    copy_weights(model, built)  # one weight in place of two: not copied
    np.testing.assert_array_equal(built.get_layer("double").get_weights(), before)


def test_a_layer_called_twice_is_refused_with_how_often():
    image = keras.Input((2, 2, 1))
    shared = layers.ReLU(name="shared")
    with pytest.raises(UserError, match="'shared' is called 2 times; quantization needs one layer per call"):
        GraphConfig(keras.Model(image, shared(shared(image))))


def test_what_is_no_functional_model_is_refused():
    with pytest.raises(UserError, match="The model 5 is not a functional Keras model"):
        GraphConfig(5)
