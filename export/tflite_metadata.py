"""Reads what a `.tflite` file of anyone says of its input and labels: the TFLite metadata.

It is a flatbuffer inside the flatbuffer, for which no installed package has a reader. The file is
untrusted: every length is looked at before it is followed.
"""

import dataclasses
import pathlib
import struct
from typing import Any

from export import metadata_schema as fields
from nas_tf.base.errors import UserError, require
from quant.flatbuffer import CORRUPT

# Of any list in it; an honest one has a few.
_MAX_ENTRIES = 1024


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What the file says of its main graph.

    Attributes:
      signature: sizes of the input with −1 where dynamic; () if all are fixed.
      mean, std: of the input's normalization, one number or one per channel; () if there is none.
      label_file: entry of the file's archive with the output's labels; "" if it names none.
      words_file: of labels for people, in the first language that there is; "" if there are none.
      name, description, version, author, license: of the model; "" where it does not say.
    """

    signature: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    label_file: str = ""
    words_file: str = ""
    name: str = ""
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""


def read(path: str | pathlib.Path) -> Metadata:
    """The metadata of a `.tflite` file, which `quant.flatbuffer` has found to be one.

    Raises:
      UserError: the metadata is damaged.
    """
    content = pathlib.Path(path).read_bytes()
    try:
        return _read(content)
    except UserError as error:
        raise UserError(f"The TFLite metadata of {str(path)!r} cannot be used: {error}") from error
    except CORRUPT as error:
        raise UserError(f"The TFLite metadata of {str(path)!r} is damaged.") from error


def _read(content: bytes) -> Metadata:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    signature = _signature(model)
    for index in range(_bounded(model.MetadataLength())):
        entry = model.Metadata(index)
        if (entry.Name() or b"").decode("utf-8") == fields.NAME:
            require(entry.Buffer() < model.BuffersLength(), "its buffer is absent.")
            buffer = model.Buffers(entry.Buffer())
            require(8 < buffer.DataLength() <= len(content), "its buffer is empty or too long.")
            return _described(buffer.DataAsNumpy().tobytes(), signature)
    return Metadata(signature)


def _signature(model: Any) -> tuple[int, ...]:
    graph = model.Subgraphs(0)
    tensor = graph.Tensors(int(graph.Inputs(0)))
    return tuple(int(tensor.ShapeSignature(i)) for i in range(_bounded(tensor.ShapeSignatureLength())))


def _described(content: bytes, signature: tuple[int, ...]) -> Metadata:
    require(content[4:8] == fields.IDENTIFIER, f"it is not of version {fields.IDENTIFIER.decode()}.")
    model = _Table.root(content)
    of_model: dict[str, Any] = {
        "name": model.text(fields.MODEL_NAME),
        "description": model.text(fields.MODEL_DESCRIPTION),
        "version": model.text(fields.MODEL_VERSION),
        "author": model.text(fields.MODEL_AUTHOR),
        "license": model.text(fields.MODEL_LICENSE),
    }
    subgraphs = model.tables(fields.MODEL_SUBGRAPHS)
    if not subgraphs:
        return Metadata(signature, **of_model)
    mean, std = _normalization(subgraphs[0].tables(fields.SUBGRAPH_INPUTS))
    labels, words = _label_files(subgraphs[0].tables(fields.SUBGRAPH_OUTPUTS))
    return Metadata(signature, mean, std, labels, words, **of_model)


def _normalization(inputs: "list[_Table]") -> tuple[tuple[float, ...], tuple[float, ...]]:
    units = [
        unit.table(fields.UNIT_OPTIONS)
        for tensor in inputs[:1]
        for unit in tensor.tables(fields.TENSOR_PROCESS_UNITS)
        if unit.byte(fields.UNIT_TYPE) == fields.NORMALIZATION
    ]
    require(len(units) <= 1, f"it normalizes the input {len(units)} times.")
    if not units or units[0] is None:
        return (), ()
    return units[0].floats(fields.NORMALIZATION_MEAN), units[0].floats(fields.NORMALIZATION_STD)


def _label_files(outputs: "list[_Table]") -> tuple[str, str]:
    """(labels, labels for people): the schema tells the latter by their having a locale."""
    files = [
        file
        for tensor in outputs[:1]
        for file in tensor.tables(fields.TENSOR_FILES)
        if file.byte(fields.FILE_TYPE) == fields.AXIS_LABELS
    ]
    names = [file.text(fields.FILE_NAME) for file in files]
    words = [file.text(fields.FILE_NAME) for file in files if file.text(fields.FILE_LOCALE)]
    # Of several, the first one is meant by default.
    return names[0] if names else "", words[0] if words else ""


def _bounded(length: int) -> int:
    require(0 <= length <= _MAX_ENTRIES, f"a list has {length} entries.")
    return length


class _Table:
    """A table of a flatbuffer, its fields by number."""

    def __init__(self, content: bytes, position: int):
        from flatbuffers import table

        require(0 <= position < len(content), "an offset points outside of it.")
        self._table = table.Table(content, position)

    @classmethod
    def root(cls, content: bytes) -> "_Table":
        """The table that a flatbuffer begins with."""
        # A flatbuffer begins with the position of its root table.
        return cls(content, struct.unpack_from("<I", content)[0])

    def byte(self, field: int) -> int:
        """A number of one byte; 0 if absent."""
        place = self._place(field)
        return self._table.Bytes[place] if place else 0

    def text(self, field: int) -> str:
        """A string; "" if absent."""
        place = self._place(field)
        return self._table.String(place).decode("utf-8") if place else ""

    def table(self, field: int) -> "_Table | None":
        """A table, or the table that a union holds."""
        place = self._place(field)
        return _Table(self._table.Bytes, self._table.Indirect(place)) if place else None

    def tables(self, field: int) -> "list[_Table]":
        """A vector of tables; [] if absent."""
        start, length = self._vector(field)
        return [_Table(self._table.Bytes, self._table.Indirect(start + 4 * i)) for i in range(length)]

    def floats(self, field: int) -> tuple[float, ...]:
        """A vector of float32; () if absent."""
        start, length = self._vector(field)
        return struct.unpack_from(f"<{length}f", self._table.Bytes, start) if length else ()

    def _vector(self, field: int) -> tuple[int, int]:
        """(position of the first element, elements)."""
        # A flatbuffer's vtable: two sizes of 16 bits, then an offset of 16 bits for each field.
        offset = self._table.Offset(4 + 2 * field)
        if not offset:
            return 0, 0
        return self._table.Vector(offset), _bounded(self._table.VectorLen(offset))

    def _place(self, field: int) -> int:
        """Position of a field's own bytes; 0 if absent."""
        offset = self._table.Offset(4 + 2 * field)
        return offset and self._table.Pos + offset
