"""Reads what a `.tflite` file of anyone says of its input and labels: the TFLite metadata.

It is a flatbuffer inside the flatbuffer, for which no installed package has a reader. Fields are
numbered as in TFLite's metadata_schema.fbs, version 1.5.0, which only ever adds at the end. The
file is untrusted: every length is looked at before it is followed.
"""

import dataclasses
import pathlib
import struct
from typing import Any

from nas_tf.base.errors import UserError, require
from quant.flatbuffer import CORRUPT

NAME = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
# Field numbers of the tables on the way.
_MODEL_SUBGRAPHS = 3
_SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS = 2, 3
_TENSOR_PROCESS_UNITS, _TENSOR_FILES = 4, 6
_UNIT_TYPE, _UNIT_OPTIONS = 0, 1
_NORMALIZATION = 1  # first of the union ProcessUnitOptions
_NORMALIZATION_MEAN, _NORMALIZATION_STD = 0, 1
_FILE_NAME, _FILE_TYPE = 0, 2
_AXIS_LABELS = 2  # of enum AssociatedFileType
# Of any list in it; an honest one has a few.
_MAX_ENTRIES = 1024


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What the file says of its main graph.

    Attributes:
      signature: sizes of the input with −1 where dynamic; () if all are fixed.
      mean, std: of the input's normalization, one number or one per channel; () if there is none.
      label_file: entry of the file's archive with the output's labels; "" if it names none.
    """

    signature: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    label_file: str = ""


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
        if (entry.Name() or b"").decode("utf-8") == NAME:
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
    require(content[4:8] == _IDENTIFIER, f"it is not of version {_IDENTIFIER.decode()}.")
    subgraphs = _Table.root(content).tables(_MODEL_SUBGRAPHS)
    if not subgraphs:
        return Metadata(signature)
    mean, std = _normalization(subgraphs[0].tables(_SUBGRAPH_INPUTS))
    return Metadata(signature, mean, std, _label_file(subgraphs[0].tables(_SUBGRAPH_OUTPUTS)))


def _normalization(inputs: "list[_Table]") -> tuple[tuple[float, ...], tuple[float, ...]]:
    units = [
        unit.table(_UNIT_OPTIONS)
        for tensor in inputs[:1]
        for unit in tensor.tables(_TENSOR_PROCESS_UNITS)
        if unit.byte(_UNIT_TYPE) == _NORMALIZATION
    ]
    require(len(units) <= 1, f"it normalizes the input {len(units)} times.")
    if not units or units[0] is None:
        return (), ()
    return units[0].floats(_NORMALIZATION_MEAN), units[0].floats(_NORMALIZATION_STD)


def _label_file(outputs: "list[_Table]") -> str:
    names = [
        file.text(_FILE_NAME)
        for tensor in outputs[:1]
        for file in tensor.tables(_TENSOR_FILES)
        if file.byte(_FILE_TYPE) == _AXIS_LABELS
    ]
    return names[0] if names else ""


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
