"""Reads a `.tflite` file into plain data. The file is untrusted; nothing in it is executed."""

import dataclasses
import functools
import pathlib
import struct
from typing import Any

import numpy as np

from nas_tf.base.errors import UserError, require

IDENTIFIER = b"TFL3"
_MAX_GRAPHS = 64
_MAX_OPERATORS = 1_000_000
_MAX_RANK = 32
# What the plain data may take, in bytes: a small multiple of the file. Constants are views and take
# nothing; the rest of an honest file becomes some six times larger.
_BYTES_PER_FILE_BYTE, _BYTES_ANYWAY = 16, 1 << 20
_OBJECT_BYTES = 400  # a `Tensor` or `Operator` with its small parts
_INDEX_BYTES = 40  # a Python number and a place in a tuple
# What the flatbuffers reader raises when an offset or a length points outside the file.
CORRUPT = (
    struct.error,
    IndexError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    MemoryError,
    UnicodeDecodeError,
)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of a flatbuffer.

    Attributes:
      dtype: TFLite's name in lower case: "int8", "float32", …
      shape: fixed shape (dynamic sizes as 1).
      scales, zero_points: float64 and int64 [1], or [channels] when per channel; [0] when the
        tensor is not quantized: real = scale · (integer − zero_point).
      axis: dimension of the channels.
      values: the constant, else None.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    scales: np.ndarray
    zero_points: np.ndarray
    axis: int
    values: np.ndarray | None

    @property
    def is_float(self) -> bool:
        """Whether it holds floating-point numbers."""
        return "float" in self.dtype


@dataclasses.dataclass(frozen=True)
class Operator:
    """An operator; `inputs` and `outputs` are tensor indices, absent optional inputs left out."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    activation: str = "NONE"


@dataclasses.dataclass(frozen=True)
class Graph:
    """One subgraph."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @functools.cached_property
    def producers(self) -> dict[int, int]:
        """Tensor index → index of the operator that writes it."""
        return {t: i for i, op in enumerate(self.operators) for t in op.outputs}

    @functools.cached_property
    def consumers(self) -> dict[int, list[int]]:
        """Tensor index → indices of the operators that read it."""
        readers: dict[int, list[int]] = {}
        for index, operator in enumerate(self.operators):
            for tensor in operator.inputs:
                readers.setdefault(tensor, []).append(index)
        return readers


@dataclasses.dataclass(frozen=True)
class FlatModel:
    """A whole file; `graphs[0]` is the one that runs."""

    graphs: tuple[Graph, ...]
    num_bytes: int

    @property
    def main(self) -> Graph:
        """The graph that runs."""
        return self.graphs[0]


def read_file(path: str | pathlib.Path) -> FlatModel:
    """Reads the `.tflite` file `path`; raises `UserError` for anything that is not one."""
    return parse(read_content(path), f"model {str(path)!r}")


def read_content(path: str | pathlib.Path) -> bytes:
    """The bytes of a model's file; `UserError` if it cannot be read."""
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read the model {str(path)!r}: {error.strerror}.") from error


def parse(content: bytes, where: str = "model") -> FlatModel:
    """Parses the bytes of a `.tflite` file; `where` names it in the `UserError`s."""
    require(
        # A flatbuffer begins with the offset of its root table and four letters that name its schema.
        len(content) > 8 and content[4:8] == IDENTIFIER,
        f"The {where} is not a TensorFlow Lite file: it does not say 'TFL3' at byte 4.",
    )
    try:
        return _read(content)
    except UserError as error:
        raise UserError(f"The {where} is damaged: {error}") from error
    except CORRUPT as error:
        raise UserError(f"The {where} is truncated or damaged.") from error


def _read(content: bytes) -> FlatModel:
    # Here, so that commands start without loading the runtime.
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    require(
        1 <= model.SubgraphsLength() <= _MAX_GRAPHS,
        f"it has {model.SubgraphsLength()} graphs, 1 to {_MAX_GRAPHS} are allowed.",
    )
    reader = _Reader(schema, model, content)
    graphs = tuple(reader.graph(model.Subgraphs(i)) for i in range(model.SubgraphsLength()))
    return FlatModel(graphs, len(content))


def _names(enumeration: Any) -> dict[int, str]:
    # The generated enumerations are plain classes with whole numbers as attributes.
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}


class _Reader:
    """Turns flatbuffer tables into plain data; looks at each length before it loops.

    Tables and vectors may be pointed at from many places, so that a small file describes much: what
    is made of them is counted, and limited by the file's size.
    """

    def __init__(self, schema: Any, model: Any, content: bytes):
        self._schema, self._model, self._content = schema, model, content
        self._left = self._limit = _BYTES_ANYWAY + _BYTES_PER_FILE_BYTE * len(content)
        self._types = _names(schema.TensorType)
        self._builtins = _names(schema.BuiltinOperator)
        self._activations = _names(schema.ActivationFunctionType)
        self._options = _names(schema.BuiltinOptions)
        self._codes = [
            self._code(model.OperatorCodes(i)) for i in range(self._bounded(model.OperatorCodesLength()))
        ]

    def graph(self, table: Any) -> Graph:
        """The plain data of one subgraph."""
        tensors = tuple(
            self._tensor(i, table.Tensors(i)) for i in range(self._bounded(table.TensorsLength()))
        )
        operators = tuple(
            self._operator(table.Operators(i), len(tensors))
            for i in range(self._bounded(table.OperatorsLength()))
        )
        inputs = self._indices(table.InputsAsNumpy(), len(tensors))
        outputs = self._indices(table.OutputsAsNumpy(), len(tensors))
        require(len(outputs) > 0, "a graph has no output.")
        return Graph(self._text(table.Name()), tensors, operators, inputs, outputs)

    def _bounded(self, length: int) -> int:
        # Every element takes at least its 4-byte offset.
        limit = min(len(self._content) // 4, _MAX_OPERATORS)
        require(length <= limit, f"a list of {length} entries does not fit the file.")
        return length

    def _charge(self, num_bytes: int) -> None:
        """Counts what is about to be made."""
        self._left -= num_bytes
        require(
            self._left >= 0,
            f"what it describes takes more than {self._limit:,} bytes, the most for a file of "
            f"{len(self._content):,}.",
        )

    def _code(self, table: Any) -> str:
        # Codes over 127 live in the newer of the two fields.
        code = max(table.BuiltinCode(), table.DeprecatedBuiltinCode())
        if code == self._schema.BuiltinOperator.CUSTOM:
            return f"CUSTOM:{self._text(table.CustomCode())}"
        return self._builtins[code]

    def _tensor(self, index: int, table: Any) -> Tensor:
        self._charge(_OBJECT_BYTES)
        quantization = table.Quantization()
        scales = self._vector(quantization and quantization.ScaleAsNumpy(), np.float64)
        zero_points = self._vector(quantization and quantization.ZeroPointAsNumpy(), np.int64)
        axis = quantization.QuantizedDimension() if quantization else 0
        dtype, shape = self._types[table.Type()].lower(), self._shape(table)
        require(
            len(zero_points) in (0, len(scales)),
            f"tensor {index} has {len(scales)} scales but {len(zero_points)} zero points.",
        )
        if len(scales) > 1:
            require(
                0 <= axis < len(shape) and shape[axis] == len(scales),
                f"tensor {index} has {len(scales)} scales but the shape {list(shape)}.",
            )
        zero_points = zero_points if len(zero_points) else np.zeros(len(scales), np.int64)
        return Tensor(
            index,
            self._text(table.Name()),
            dtype,
            shape,
            scales,
            zero_points,
            axis,
            self._constant(table.Buffer(), dtype, shape, index),
        )

    def _constant(self, buffer: int, dtype: str, shape: tuple, index: int) -> np.ndarray | None:
        require(buffer < self._model.BuffersLength(), f"tensor {index} has no buffer {buffer}.")
        table = self._model.Buffers(buffer)
        # By TFLite's schema, an offset counts only when it is greater than 1.
        if table.Offset() > 1:  # data of models over 2 GB lies behind the flatbuffer
            end = table.Offset() + table.Size()
            require(end <= len(self._content), f"tensor {index} lies outside the file.")
            raw = np.frombuffer(self._content, np.uint8, table.Size(), table.Offset())
        elif table.DataLength():
            raw = table.DataAsNumpy()
        else:
            return None
        try:
            values = raw.view(np.dtype(dtype))
        except TypeError:  # strings, packed int4 and the like stay bytes
            return raw
        require(
            values.size == int(np.prod(shape, dtype=np.int64)),
            f"tensor {index} of shape {list(shape)} has {values.size} values.",
        )
        return values.reshape(shape)

    def _operator(self, table: Any, num_tensors: int) -> Operator:
        index = table.OpcodeIndex()
        require(index < len(self._codes), f"operator code {index} is not listed.")
        self._charge(_OBJECT_BYTES)
        return Operator(
            self._codes[index],
            self._indices(table.InputsAsNumpy(), num_tensors),
            self._indices(table.OutputsAsNumpy(), num_tensors),
            self._activation(table),
        )

    def _activation(self, table: Any) -> str:
        union, name = table.BuiltinOptions(), self._options.get(table.BuiltinOptionsType(), "")
        options: Any = getattr(self._schema, name, None)
        if union is None or not hasattr(options, "FusedActivationFunction"):
            return "NONE"
        parsed = options()
        parsed.Init(union.Bytes, union.Pos)
        return self._activations[parsed.FusedActivationFunction()]

    def _vector(self, values: Any, dtype: Any) -> np.ndarray:
        # The accessors return None or 0 for an absent vector.
        if values is None or np.isscalar(values):
            return np.array([], dtype)
        self._charge(len(values) * np.dtype(dtype).itemsize)
        return values.astype(dtype)

    def _shape(self, table: Any) -> tuple[int, ...]:
        require(
            table.ShapeLength() <= _MAX_RANK,
            f"a tensor has {table.ShapeLength()} dimensions, {_MAX_RANK} are allowed.",
        )
        shape = tuple(int(n) for n in self._vector(table.ShapeAsNumpy(), np.int64))
        require(all(0 <= n < 2**31 for n in shape), f"a tensor has the shape {list(shape)}.")
        return shape

    def _indices(self, values: Any, num_tensors: int) -> tuple[int, ...]:
        found = self._vector(values, np.int64)
        self._charge(len(found) * _INDEX_BYTES)
        # −1 stands for an optional input that is not given, such as a convolution's bias.
        indices = tuple(int(i) for i in found if i != -1)
        require(all(0 <= i < num_tensors for i in indices), "an operator points at an absent tensor.")
        return indices

    def _text(self, value: bytes | None) -> str:
        self._charge(len(value or b""))
        return (value or b"").decode("utf-8")
