"""Reading a `.tflite` takes memory in proportion to the file, however often parts are shared."""

import tracemalloc

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from nas_tf.base.errors import UserError
from quant import flatbuffer


def peak_bytes(content: bytes, message: str = "") -> int:
    """The most memory held while parsing; with `message`, a refusal that says so is expected."""
    tracemalloc.start()
    try:
        if message:
            with pytest.raises(UserError, match=message):
                flatbuffer.parse(content)
        else:
            flatbuffer.parse(content)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _offsets(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _tensor(builder, name: int, shape: int, quantization: int = 0, buffer: int = 0) -> int:
    schema.TensorStart(builder)
    schema.TensorAddName(builder, name)
    schema.TensorAddShape(builder, shape)
    schema.TensorAddType(builder, schema.TensorType.INT8)
    schema.TensorAddBuffer(builder, buffer)
    if quantization:
        schema.TensorAddQuantization(builder, quantization)
    return schema.TensorEnd(builder)


def _file(builder, tensors: list[int], data: int = 0, graphs: int = 1) -> bytes:
    listed = _offsets(builder, tensors)
    outputs = builder.CreateNumpyVector(np.zeros(1, np.int32))
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, listed)
    schema.SubGraphAddOutputs(builder, outputs)
    graph = schema.SubGraphEnd(builder)
    buffers = []
    for content in (0, data):
        schema.BufferStart(builder)
        if content:
            schema.BufferAddData(builder, content)
        buffers.append(schema.BufferEnd(builder))
    subgraphs, held = _offsets(builder, [graph] * graphs), _offsets(builder, buffers)
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, subgraphs)
    schema.ModelAddBuffers(builder, held)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_buffer_that_many_tensors_share_is_held_once():
    builder = flatbuffers.Builder(0)
    data = builder.CreateNumpyVector(np.arange(1_000_000).astype(np.int8))
    name, shape = builder.CreateString("w"), builder.CreateNumpyVector(np.int32([1_000_000]))
    content = _file(builder, [_tensor(builder, name, shape, buffer=1) for _ in range(200)], data)
    assert peak_bytes(content) < len(content)
    values = flatbuffer.parse(content).main.tensors[199].values
    np.testing.assert_array_equal(values[:5], np.arange(5))


def test_scales_that_many_tensors_share_are_refused():
    builder = flatbuffers.Builder(0)
    scales = builder.CreateNumpyVector(np.ones(200_000, np.float32))
    zeros = builder.CreateNumpyVector(np.zeros(200_000, np.int64))
    schema.QuantizationParametersStart(builder)
    schema.QuantizationParametersAddScale(builder, scales)
    schema.QuantizationParametersAddZeroPoint(builder, zeros)
    quantization = schema.QuantizationParametersEnd(builder)
    name, shape = builder.CreateString("w"), builder.CreateNumpyVector(np.int32([200_000]))
    content = _file(builder, [_tensor(builder, name, shape, quantization) for _ in range(200)])
    # 200 tensors of 3.2 MB each, in a file of 2.4 MB.
    peak = peak_bytes(content, "takes more than .* bytes, the most for a file of")
    assert peak < 18 * len(content)


@pytest.mark.parametrize("graphs", [1, 40])
def test_a_tensor_listed_a_hundred_thousand_times_is_refused(graphs):
    builder = flatbuffers.Builder(0)
    name = builder.CreateString("a name of some length " * 20)
    tensor = _tensor(builder, name, builder.CreateNumpyVector(np.int32([1, 2, 3])))
    content = _file(builder, [tensor] * (100_000 // graphs), graphs=graphs)
    assert peak_bytes(content, "takes more than") < 20 * len(content) + 2_000_000


def test_a_shape_as_long_as_the_file_is_refused():
    builder = flatbuffers.Builder(0)
    name, shape = builder.CreateString("w"), builder.CreateNumpyVector(np.ones(250_000, np.int32))
    content = _file(builder, [_tensor(builder, name, shape)])
    assert peak_bytes(content, "a tensor has 250000 dimensions, 32 are allowed") < 200_000


def test_an_honest_file_is_far_from_the_limit():
    """Many small tensors with names, shapes and scales of their own."""
    builder = flatbuffers.Builder(0)
    tensors = []
    for index in range(4_000):
        scales = builder.CreateNumpyVector(np.float32([0.5]))
        zeros = builder.CreateNumpyVector(np.int64([3]))
        schema.QuantizationParametersStart(builder)
        schema.QuantizationParametersAddScale(builder, scales)
        schema.QuantizationParametersAddZeroPoint(builder, zeros)
        quantization = schema.QuantizationParametersEnd(builder)
        name = builder.CreateString(f"tensor{index}")
        tensors.append(
            _tensor(builder, name, builder.CreateNumpyVector(np.int32([1, 8, 8, 16])), quantization)
        )
    content = _file(builder, tensors)
    peak = peak_bytes(content)
    assert peak < flatbuffer._BYTES_PER_FILE_BYTE * len(content)
    assert len(flatbuffer.parse(content).main.tensors) == 4_000
