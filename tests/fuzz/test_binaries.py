"""PyTorch's checkpoints, `.tflite` files with what is appended to them, and images."""

import functools
import io

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import strategies as st
from PIL import Image

from export import archive, file_facts, labels, tflite_metadata
from nas_tf.data import image_files
from nas_tf.imported.torch_file import read_tensors
from quant import flatbuffer
from quant.audit_tflite import audit_flatbuffer
from tests.fuzz.judge import judge
from tests.fuzz.mutate import damaged
from tests.fuzz.run import fuzz
from tests.imported import torch_writer


@pytest.fixture(scope="module", name="folder")
def folder_fixture(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@functools.cache
def checkpoints() -> list[bytes]:
    rng = np.random.default_rng(0)
    tensors = {
        "conv.weight": rng.normal(size=(2, 3, 3, 3)).astype(np.float32),
        "bn.num_batches_tracked": np.array(7, np.int64),
        "half": rng.normal(size=3).astype(np.float16),
    }
    contents = (
        {"state_dict": torch_writer.as_views(tensors), "epoch": 3, "lr": 0.5},
        torch_writer.as_views(tensors),
    )
    return [write(content) for write in torch_writer.FORMATS.values() for content in contents]


@fuzz(damaged(checkpoints()), st.binary(max_size=200))
def test_checkpoint(folder, content):
    path = folder / "net.pth"
    path.write_bytes(content)
    tensors = judge("PyTorch checkpoint", lambda: read_tensors(path))
    if tensors is not None:
        # Views that lie outside of their storage would show here.
        judge("PyTorch checkpoint, used", lambda: [float(np.sum(values)) for values in tensors.values()])


def _quantization(scales: int, axis: int = 0) -> schema.QuantizationParametersT:
    made = schema.QuantizationParametersT()
    made.scale = np.full(scales, 0.5, np.float32)
    made.zeroPoint = np.zeros(scales, np.int64)
    made.quantizedDimension = axis
    return made


def _tensor(
    name: str, shape: tuple, kind: int, buffer: int, scales: int = 1, axis: int = 0
) -> schema.TensorT:
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, np.array(shape, np.int32), kind, buffer
    made.quantization = _quantization(scales, axis)
    return made


def _operator(code: int, inputs: list[int], outputs: list[int]) -> schema.OperatorT:
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = (
        code,
        np.array(inputs, np.int32),
        np.array(outputs, np.int32),
    )
    return made


@functools.cache
def tflite() -> bytes:
    """Convolution with a kernel per channel and a bias, depthwise convolution, ReLU6, QUANTIZE."""
    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    model, graph = schema.ModelT(), schema.SubGraphT()
    constants = [
        np.arange(4 * 3, dtype=np.int8),
        np.arange(4, dtype=np.int32),
        np.arange(9 * 4, dtype=np.int8),
    ]
    model.buffers = [schema.BufferT() for _ in range(1 + len(constants))]
    for buffer, values in zip(model.buffers[1:], constants, strict=True):
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    graph.tensors = [
        _tensor("input", (1, 4, 4, 3), int8, 0),
        _tensor("kernel", (4, 1, 1, 3), int8, 1, 4),
        _tensor("bias", (4,), int32, 2, 4),
        _tensor("middle;quant_a/b", (1, 4, 4, 4), int8, 0),
        _tensor("depthwise", (1, 3, 3, 4), int8, 3, 4, 3),
        _tensor("filtered", (1, 4, 4, 4), int8, 0),
        _tensor("active", (1, 4, 4, 4), int8, 0),
        _tensor("out", (1, 4, 4, 4), int8, 0),
    ]
    codes = schema.BuiltinOperator
    model.operatorCodes = []
    for code in (codes.CONV_2D, codes.DEPTHWISE_CONV_2D, codes.RELU6, codes.QUANTIZE):
        made = schema.OperatorCodeT()
        made.builtinCode = made.deprecatedBuiltinCode = code
        model.operatorCodes.append(made)
    graph.operators = [
        _operator(0, [0, 1, 2], [3]),
        _operator(1, [3, 4, 2], [5]),
        _operator(2, [5], [6]),
        _operator(3, [6], [7]),
    ]
    graph.inputs, graph.outputs, graph.name = np.array([0], np.int32), np.array([7], np.int32), "main"
    model.subgraphs, model.version = [graph], 3
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_the_valid_file_is_valid():
    audit = audit_flatbuffer(flatbuffer.parse(tflite()), "file")
    assert [kernel.channels for kernel in audit.kernels] == [4, 4] and audit.unfused


@fuzz(damaged([tflite()]), st.binary(max_size=200))
def test_tflite(content):
    model = judge("TFLite file", lambda: flatbuffer.parse(content))
    if model is not None:
        judge("TFLite file, audit", lambda: audit_flatbuffer(model, "file").to_text())


@functools.cache
def with_entries() -> bytes:
    import pathlib
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "m.tflite"
        path.write_bytes(tflite())
        labels.append(path, ("cat", "dog"))
        file_facts.append(path, file_facts.FileFacts())
        return path.read_bytes()


@fuzz(damaged([with_entries()[len(tflite()) :]]), st.binary(max_size=200))
def test_appended_entries(folder, content):
    path = folder / "m.tflite"
    path.write_bytes(tflite() + content)
    judge("entries of a TFLite file", lambda: (labels.read_appended(path), file_facts.read(path)))
    judge("entries of a TFLite file, others", lambda: archive.read(path, "other.txt", 100))


@fuzz(damaged([tflite()]), st.binary(max_size=200))
def test_metadata(folder, content):
    path = folder / "d.tflite"
    path.write_bytes(content)
    judge("TFLite metadata", lambda: tflite_metadata.read(path))


@functools.cache
def images() -> list[bytes]:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    contents = []
    for image_format, image in (
        ("JPEG", picture),
        ("PNG", picture),
        ("BMP", picture),
        ("BMP", picture.convert("P")),
        ("WEBP", picture),
        ("PNG", picture.convert("L")),
    ):
        file = io.BytesIO()
        image.save(file, image_format, **({"exif": exif} if image_format != "BMP" else {}))
        contents.append(file.getvalue())
    return contents


@pytest.fixture(scope="module", autouse=True)
def _decoder(folder):
    """Loads TensorFlow and builds its graph, which is no part of an image's time."""
    for number, content in enumerate(images()):
        path = folder / f"{number}.jpg"
        path.write_bytes(content)
        assert image_files.decoding_faults([path]) == [""]


@fuzz(damaged(images()), st.binary(max_size=200))
def test_image(folder, content):
    path = folder / "image.jpg"
    path.write_bytes(content)
    # Stands for the time of change, by which looks are remembered.
    number = hash(content)
    look = judge("image file, header", lambda: image_files._header(str(path), len(content), number))
    assert look.fault or look.width > 0
    if not look.fault:
        fault = judge(
            "image file, decoding", lambda: image_files._decoding_fault(str(path), len(content), number)
        )
        assert len(fault) < 1000
