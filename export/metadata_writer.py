"""Writes TFLite metadata into a `.tflite` file: the flatbuffer inside the flatbuffer."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from export import metadata_schema as fields
from nas_tf.base.errors import require
from quant import flatbuffer

# TFLite's schema wants constants to begin at multiples of this, which microcontrollers rely on.
_ALIGNMENT = 16


@dataclasses.dataclass(frozen=True)
class AssociatedFile:
    """An entry of the archive at the file's end.

    Attributes:
      locale: of labels in a language, such as "en"; "" for the dataset's own names.
      is_labels: whether each line names an output.
    """

    name: str
    description: str
    locale: str = ""
    is_labels: bool = False


@dataclasses.dataclass(frozen=True)
class FileMetadata:
    """What a file says of itself.

    Attributes:
      name, description, version, author, license: of the model; a `license` of "" is left out.
      input_description, output_description: in words.
      mean, std: of the input's normalization (pixel − mean) / std, in pixel units.
      side: of the square input, in pixels.
      labels: files that name the outputs.
      files: other files.
    """

    name: str
    description: str
    version: str
    author: str
    license: str
    input_description: str
    output_description: str
    mean: float
    std: float
    side: int
    labels: tuple[AssociatedFile, ...]
    files: tuple[AssociatedFile, ...] = ()


class _Byte(NamedTuple):
    """A number that takes one byte: an enum, or the type of a union."""

    value: int


class _Uint(NamedTuple):
    """A number of 32 bits."""

    value: int


class _Floats(NamedTuple):
    """A vector of float32."""

    values: tuple[float, ...]


def build(metadata: FileMetadata) -> bytes:
    """The metadata's flatbuffer, ModelMetadata as its root."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    root = _table(builder, _model(metadata))
    builder.Finish(root, file_identifier=fields.IDENTIFIER)
    return bytes(builder.Output())


def embed(content: bytes, metadata: bytes) -> bytes:
    """The `.tflite` file `content` with `metadata` in it, in place of what it may hold.

    Raises:
      UserError: the file would then hold another graph, so that it cannot be written.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    entries = {(entry.name or b"").decode(): entry for entry in model.metadata or []}
    if fields.NAME not in entries:
        entries[fields.NAME] = schema.MetadataT()
        entries[fields.NAME].name, entries[fields.NAME].buffer = fields.NAME, len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.metadata = [*(model.metadata or []), entries[fields.NAME]]
    model.buffers[entries[fields.NAME].buffer].data = np.frombuffer(metadata, np.uint8)
    packed = _packed(model)
    before, after = flatbuffer.parse(content, "converted model"), flatbuffer.parse(packed, "converted model")
    require(
        _same(before, after), "The converted model changed when its metadata was added; nothing was written."
    )
    return packed


def _model(metadata: FileMetadata) -> dict[int, Any]:
    graph = {
        fields.SUBGRAPH_INPUTS: [_image(metadata)],
        fields.SUBGRAPH_OUTPUTS: [
            {
                fields.TENSOR_NAME: "logits",
                fields.TENSOR_DESCRIPTION: metadata.output_description,
                fields.TENSOR_CONTENT: _content(fields.FEATURE_PROPERTIES, {}),
                fields.TENSOR_FILES: [_file(file) for file in metadata.labels],
            }
        ],
    }
    model = {
        fields.MODEL_NAME: metadata.name,
        fields.MODEL_DESCRIPTION: metadata.description,
        fields.MODEL_VERSION: metadata.version,
        fields.MODEL_SUBGRAPHS: [graph],
        fields.MODEL_AUTHOR: metadata.author,
        fields.MODEL_FILES: [_file(file) for file in metadata.files],
        fields.MODEL_MIN_PARSER_VERSION: fields.MIN_PARSER_VERSION,
    }
    return model | ({fields.MODEL_LICENSE: metadata.license} if metadata.license else {})


def _image(metadata: FileMetadata) -> dict[int, Any]:
    size = {fields.SIZE_WIDTH: _Uint(metadata.side), fields.SIZE_HEIGHT: _Uint(metadata.side)}
    image = {fields.IMAGE_COLOR_SPACE: _Byte(fields.RGB), fields.IMAGE_DEFAULT_SIZE: size}
    unit = {
        fields.UNIT_TYPE: _Byte(fields.NORMALIZATION),
        fields.UNIT_OPTIONS: {
            fields.NORMALIZATION_MEAN: _Floats((metadata.mean,)),
            fields.NORMALIZATION_STD: _Floats((metadata.std,)),
        },
    }
    low, high = ((pixel - metadata.mean) / metadata.std for pixel in (0, 255))
    return {
        fields.TENSOR_NAME: "image",
        fields.TENSOR_DESCRIPTION: metadata.input_description,
        fields.TENSOR_CONTENT: _content(fields.IMAGE_PROPERTIES, image),
        fields.TENSOR_PROCESS_UNITS: [unit],
        fields.TENSOR_STATS: {fields.STATS_MAX: _Floats((high,)), fields.STATS_MIN: _Floats((low,))},
    }


def _content(kind: int, properties: dict[int, Any]) -> dict[int, Any]:
    return {fields.CONTENT_TYPE: _Byte(kind), fields.CONTENT_PROPERTIES: properties}


def _file(file: AssociatedFile) -> dict[int, Any]:
    table = {
        fields.FILE_NAME: file.name,
        fields.FILE_DESCRIPTION: file.description,
        fields.FILE_TYPE: _Byte(fields.AXIS_LABELS if file.is_labels else fields.UNKNOWN),
    }
    return table | ({fields.FILE_LOCALE: file.locale} if file.locale else {})


def _table(builder: Any, content: dict[int, Any]) -> int:
    """Writes a table given by its fields' numbers; returns its place."""
    # Whatever it refers to comes first: no table may be begun inside of another.
    places = {
        number: _place(builder, value)
        for number, value in content.items()
        if not isinstance(value, (_Byte, _Uint))
    }
    builder.StartObject(max(content, default=-1) + 1)
    for number, value in content.items():
        if isinstance(value, _Byte):
            builder.PrependUint8Slot(number, value.value, 0)
        elif isinstance(value, _Uint):
            builder.PrependUint32Slot(number, value.value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(number, places[number], 0)
    return builder.EndObject()


def _place(builder: Any, value: Any) -> int:
    """Writes a string, a table, a list of tables or a vector of numbers."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, dict):
        return _table(builder, value)
    if isinstance(value, _Floats):
        return builder.CreateNumpyVector(np.array(value.values, np.float32))
    places = [_table(builder, table) for table in value]
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):  # a flatbuffer grows towards its beginning
        builder.PrependUOffsetTRelative(place)
    return builder.EndVector()


def _packed(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    for index, buffer in enumerate(model.buffers):
        if buffer.data is not None and len(buffer.data):
            model.buffers[index] = _AlignedBuffer(np.asarray(buffer.data, np.uint8))
    builder.Finish(model.Pack(builder), file_identifier=flatbuffer.IDENTIFIER)
    return bytes(builder.Output())


class _AlignedBuffer:
    """A constant that begins at a multiple of 16 bytes.

    The schema's own packing aligns a vector of bytes to one byte only.
    """

    def __init__(self, data: np.ndarray):
        self._data = data

    def Pack(self, builder: Any) -> int:
        """Writes the table `Buffer`; the name is that of the schema's classes."""
        from ai_edge_litert import schema_py_generated as schema

        builder.StartVector(1, len(self._data), _ALIGNMENT)
        head = builder.head - len(self._data)
        builder.head = head
        builder.Bytes[head : head + len(self._data)] = self._data.tobytes()
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


def _same(before: flatbuffer.FlatModel, after: flatbuffer.FlatModel) -> bool:
    return len(before.graphs) == len(after.graphs) and all(
        (a.operators, a.inputs, a.outputs) == (b.operators, b.inputs, b.outputs)
        and len(a.tensors) == len(b.tensors)
        and all(map(_same_tensor, a.tensors, b.tensors))
        for a, b in zip(before.graphs, after.graphs, strict=True)
    )


def _same_tensor(first: flatbuffer.Tensor, second: flatbuffer.Tensor) -> bool:
    plain = ("name", "dtype", "shape", "axis")
    arrays = ("scales", "zero_points", "values")
    return all(getattr(first, n) == getattr(second, n) for n in plain) and all(
        np.array_equal(getattr(first, n), getattr(second, n)) for n in arrays
    )
