"""What a pickle may name: stand-ins of our own, which make containers and references to tensors.

A pickle is a program: it names any importable function and calls it. Here each name is looked
up in a short list of stand-ins, and every other name ends the reading. Stand-ins
have no attributes that a pickle could overwrite. Nor can it make large things of small ones: what
a stand-in copies is short, or taken out of the list that held it. What runs the program is
`nas_tf.imported.pickle_machine`.
"""

import io
from typing import Any, NamedTuple

from nas_tf.base.errors import UserError, require
from nas_tf.imported.pickle_machine import DAMAGED, PickleMachine, require_key

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
        made = Container()
        for key, value in pairs:
            made[require_key(key)] = value
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


class _Reader(PickleMachine):
    def __init__(self, file: io.BytesIO, where: str):
        super().__init__(file)
        self._where = where

    def named(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise UserError(
                f"The {self._where} asks for {f'{module}.{name}'[:80]!r}; only tensors and "
                "containers may be in a checkpoint, so it was refused and nothing in it was run."
            )
        return _STAND_INS[module, name]

    def called(self, function: Any, arguments: tuple) -> Any:
        if not isinstance(function, _Stand):
            raise ValueError("something is called that is no function")
        return function(*arguments)  # type: ignore[operator]

    def built(self, value: Any) -> Any:
        if not isinstance(value, Container):
            raise ValueError("something is given attributes that has none")
        return value

    def elsewhere(self, pid: Any) -> StorageReference:
        # The older format has a sixth part, which makes a storage part of another; such files are refused.
        kind, dtype, key, _, numel, *view = pid
        named = isinstance(kind, str) and isinstance(dtype, str)
        require(
            named and kind == "storage" and dtype in STORAGE_TYPES.values() and not any(view),
            f"The {self._where} holds something other than tensors ({kind[:40] if named else '?'!r}); "
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
        return _Reader(file, where).load()
    except DAMAGED as error:
        raise UserError(
            f"The {where} is not a PyTorch checkpoint, or is truncated or damaged ({type(error).__name__}: "
            f"{str(error)[:80]})."
        ) from error
