"""A pickle reader that can build nothing but containers and references to tensors.

A pickle is a program: it names any importable function and calls it. Here each name is looked
up in a short list of stand-ins of our own, and every other name ends the reading. Stand-ins
have no attributes that a pickle could overwrite. Nor can it make large things of small ones: what
a stand-in copies is short, or taken out of the list that held it.
"""

import io
import pickle
import pickletools
from typing import Any, NamedTuple

from nas_tf.base.errors import UserError, require

# BFloat16Storage is not among them: numpy has no such type.
STORAGE_TYPES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


_MAX_RANK = 32  # numpy's limit before version 2


class StorageReference(NamedTuple):
    """Raw numbers elsewhere in the file."""

    key: str
    dtype: str
    numel: int


class TensorReference(NamedTuple):
    """A tensor as a view of a storage: `offset`, `shape` and `strides` count elements."""

    storage: StorageReference
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Container(dict):
    """What a pickled OrderedDict becomes; attributes pickled with it are dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class _Stand:
    """A callable that a pickle may call but cannot change."""

    __slots__ = ()


class _MakeContainer(_Stand):
    __slots__ = ()

    def __call__(self, *items: Any) -> Container:
        if not items:
            return Container()
        (pairs,) = items
        if not isinstance(pairs, list):
            raise ValueError("a container is made of something other than a list of pairs")
        made = Container(pairs)
        pairs.clear()  # a pickle could hand over the same list again and again
        return made


class _MakeTensor(_Stand):
    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> TensorReference:
        if not len(shape) == len(strides) <= _MAX_RANK:
            raise ValueError("a tensor has no shape of its strides' length, or a very long one")
        whole = (offset, *shape, *strides)
        if not (isinstance(storage, StorageReference) and all(isinstance(n, int) and n >= 0 for n in whole)):
            raise ValueError("a tensor is not a view of a storage")
        return TensorReference(storage, offset, tuple(shape), tuple(strides))


class _MakeParameter(_Stand):
    __slots__ = ()

    def __call__(self, data: TensorReference, *_: Any) -> TensorReference:
        return data


class _MakeSize(_Stand):
    __slots__ = ()

    def __call__(self, sizes: Any = ()) -> tuple:
        if len(sizes) > _MAX_RANK:
            raise ValueError("a size is longer than any tensor's")
        return tuple(sizes)


_STAND_INS = {
    ("collections", "OrderedDict"): _MakeContainer(),
    ("torch._utils", "_rebuild_tensor"): _MakeTensor(),
    ("torch._utils", "_rebuild_tensor_v2"): _MakeTensor(),
    ("torch._utils", "_rebuild_parameter"): _MakeParameter(),
    ("torch", "Size"): _MakeSize(),
    # Immutable strings, which a pickle can neither call nor change.
    **{("torch", name): dtype for name, dtype in STORAGE_TYPES.items()},
}

# What reading a damaged pickle raises.
_DAMAGED = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    RecursionError,
    ImportError,
)


# Python's own unpickler with both doors to the outside, names and persistent objects, replaced.
class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, where: str):
        super().__init__(file, encoding="utf-8")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise UserError(
                f"The {self._where} asks for {f'{module}.{name}'[:80]!r}; only tensors and "
                "containers may be in a checkpoint, so it was refused and nothing in it was run."
            )
        return _STAND_INS[module, name]

    def persistent_load(self, pid: Any) -> StorageReference:
        # The older format has a sixth part, which makes a storage part of another; such files are refused.
        kind, dtype, key, _, numel, *view = pid
        require(
            kind == "storage" and dtype in STORAGE_TYPES.values() and not any(view),
            f"The {self._where} holds something other than tensors ({str(kind)[:40]!r}); "
            "save the model's state_dict alone.",
        )
        if not (isinstance(key, str) and isinstance(numel, int) and numel >= 0):
            raise ValueError("a storage has no key or size")
        return StorageReference(key, dtype, numel)


def load(file: io.BytesIO, where: str) -> Any:
    """The next pickle of `file`, in which tensors are `TensorReference`s.

    Raises:
      UserError: the pickle names anything but tensors and containers, or is damaged.
    """
    try:
        # Before anything of it is run.
        _check_memo(file)
        return _Unpickler(file, where).load()
    except _DAMAGED as error:
        raise UserError(
            f"The {where} is not a PyTorch checkpoint, or is truncated or damaged ({type(error).__name__})."
        ) from error


def _check_memo(file: io.BytesIO) -> None:
    """Refuses a next pickle that numbers its objects beyond its own length.

    The reader keeps a table as long as the largest number, so that five bytes could ask for
    gigabytes.
    """
    start = file.tell()
    length = len(file.getbuffer()) - start
    for code, argument, _ in pickletools.genops(file):
        if code.name not in ("PUT", "BINPUT", "LONG_BINPUT") or argument is None:
            continue
        if argument > max(length, 255):  # BINPUT's single byte asks for little at most
            raise ValueError("an object is numbered beyond the length of the pickle")
    file.seek(start)
