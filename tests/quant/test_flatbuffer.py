"""Reading `.tflite` files: against the runtime's own reader, and damaged in every way."""

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from quant import flatbuffer


@pytest.fixture(scope="module", name="content")
def content_fixture():
    """A converted float network with a convolution, a fused ReLU6 and an addition."""
    import tensorflow as tf

    kernel = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32)])
    def network(x):
        y = tf.nn.relu6(tf.nn.conv2d(x, kernel, 1, "SAME"))
        return y + tf.nn.relu(y)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    return converter.convert()


@pytest.fixture(scope="module", name="quantized")
def quantized_fixture():
    """The same kind of network after full-integer post-training quantization."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    kernel = tf.constant(rng.normal(size=(3, 3, 3, 4)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32)])
    def network(x):
        return tf.nn.relu6(tf.nn.conv2d(x, kernel, 1, "SAME"))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [rng.uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)] for _ in range(3)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


@pytest.mark.parametrize("name", ["content", "quantized"])
def test_agrees_with_the_runtimes_own_reader(name, request):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    content = request.getfixturevalue(name)
    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    graph = flatbuffer.parse(content).main
    theirs = {d["index"]: d for d in interpreter.get_tensor_details()}
    for tensor in graph.tensors:
        detail = theirs[tensor.index]
        assert (tensor.name, tensor.dtype) == (detail["name"], np.dtype(detail["dtype"]).name)
        assert tensor.shape == tuple(detail["shape"])
        parameters = detail["quantization_parameters"]
        np.testing.assert_array_equal(tensor.scales.astype(np.float32), parameters["scales"])
        np.testing.assert_array_equal(tensor.zero_points, parameters["zero_points"])
        if tensor.values is not None:
            np.testing.assert_array_equal(tensor.values, interpreter.get_tensor(tensor.index))
    assert list(graph.inputs) == [d["index"] for d in interpreter.get_input_details()]
    assert list(graph.outputs) == [d["index"] for d in interpreter.get_output_details()]


def test_operators_and_their_neighbours(content):
    graph = flatbuffer.parse(content).main
    assert [(o.name, o.activation) for o in graph.operators] == [
        ("CONV_2D", "RELU6"),
        ("RELU", "NONE"),
        ("ADD", "NONE"),
    ]
    convolution, relu, addition = graph.operators
    assert graph.producers[convolution.outputs[0]] == 0
    assert graph.consumers[convolution.outputs[0]] == [1, 2]
    assert set(addition.inputs) == {convolution.outputs[0], relu.outputs[0]}
    assert graph.tensors[convolution.inputs[1]].values.shape == (4, 3, 3, 3)


def test_kernels_are_per_channel(quantized):
    graph = flatbuffer.parse(quantized).main
    (convolution,) = [o for o in graph.operators if o.name == "CONV_2D"]
    kernel = graph.tensors[convolution.inputs[1]]
    assert len(kernel.scales) > 1 and kernel.axis == 0 and kernel.dtype == "int8"
    assert len(graph.tensors[graph.inputs[0]].scales) == 1


def test_truncated_at_any_length(content):
    for length in range(0, len(content) - 64, 16):
        with pytest.raises(UserError, match="truncated|damaged|not a TensorFlow Lite file"):
            flatbuffer.parse(content[:length])


def test_damaged_bytes_never_raise_anything_else(content):
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(content)
        for position in rng.integers(8, len(content), 4):
            damaged[position] = rng.integers(256)
        try:
            flatbuffer.parse(bytes(damaged))
        except UserError:
            refused += 1
    assert refused > 20


def test_what_is_no_flatbuffer(tmp_path, content):
    text = tmp_path / "notes.tflite"
    text.write_text("these are notes, and not a network")
    with pytest.raises(UserError, match="notes.tflite' is not a TensorFlow Lite file"):
        flatbuffer.read_file(text)
    with pytest.raises(UserError, match="not a TensorFlow Lite file"):
        flatbuffer.parse(content[:4] + b"TFL2" + content[8:])
    with pytest.raises(UserError, match="Cannot read the model .*No such file"):
        flatbuffer.read_file(tmp_path / "absent.tflite")
