"""Runs a pickle's instructions one by one, without Python's own unpickler.

That one builds what it is told before anybody can look: a table as long as the largest number that
an object is given, or hashes of tuples within tuples, of which some hundred bytes make work for years.
Here an instruction that PyTorch's files do not need ends the reading, the table is a dict, keys
are plain, numbers are short, and instructions are counted.

Instructions: https://github.com/python/cpython/blob/main/Lib/pickletools.py
"""

import io
import pickletools
from collections.abc import Callable
from typing import Any

# A tensor takes some thirty, so this is far above any network.
_MAX_INSTRUCTIONS = 1_000_000
# The older format begins with a number of 77 bits; sizes have 64.
_MAX_BITS = 128
# Those of objects that a tool took out afterwards; numbers far beyond the count are damage.
_SKIPPED_NUMBERS = 255

# What a damaged pickle raises here.
DAMAGED = (EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError, MemoryError)


def require_key(key: Any) -> Any:
    """`key`, if it may be one of a dict; `ValueError` for what could take long to hash."""
    if key is not None and not isinstance(key, (str, int, float, bytes)):
        raise ValueError("a key is neither text nor a number")
    return key


class PickleMachine:
    """A stack, its marks, and a table of objects; what names and calls mean is up to a subclass."""

    def __init__(self, file: io.BytesIO):
        self._file = file
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._table: dict[int, Any] = {}

    def named(self, module: str, name: str) -> Any:
        """What stands for a name."""
        raise NotImplementedError

    def called(self, function: Any, arguments: tuple) -> Any:
        """What a call gives."""
        raise NotImplementedError

    def built(self, value: Any) -> Any:
        """An object after attributes were given to it, which are not kept."""
        raise NotImplementedError

    def elsewhere(self, pid: Any) -> Any:
        """What stands for an object outside of the pickle."""
        raise NotImplementedError

    def load(self) -> Any:
        """The object that the next pickle of the file makes; leaves the file behind it.

        Raises:
          one of `DAMAGED`.
        """
        for count, (code, argument, _) in enumerate(pickletools.genops(self._file)):
            if count >= _MAX_INSTRUCTIONS:
                raise ValueError(f"it has more than {_MAX_INSTRUCTIONS:,} instructions")
            if code.name == "STOP":
                break
            if code.name not in _INSTRUCTIONS:
                raise ValueError(f"it has an instruction {code.name}, which no checkpoint needs")
            _INSTRUCTIONS[code.name](self, argument)
        (made,) = self._stack
        return made

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _push_number(self, value: int) -> None:
        if value.bit_length() > _MAX_BITS:
            raise ValueError("a number is longer than any size")
        self._stack.append(value)

    def _push_bytes_as_text(self, value: str) -> None:
        # Strings of Python 2, which pickletools reads as Latin-1.
        self._stack.append(value.encode("latin-1").decode("utf-8"))

    def _put(self, number: int) -> None:
        """Notes the last object under a number; writers count them from 0."""
        if not 0 <= number <= len(self._table) + _SKIPPED_NUMBERS:
            raise ValueError("an object is numbered beyond the count of objects")
        self._table[number] = self._stack[-1]

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _to_mark(self) -> list[Any]:
        """Takes what lies above the last mark."""
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _take(self, count: int) -> tuple:
        """Takes the last `count` objects."""
        if len(self._stack) < count:
            raise ValueError("an object is missing")
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        return items

    def _pop(self) -> None:
        # A mark lies on the stack like an object.
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._stack.pop()

    def _dict(self, target: Any, items: list[Any]) -> Any:
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("keys and values are not given to a dict in pairs")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[require_key(key)] = value
        return target

    def _list(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise ValueError("entries are given to something that is no list")
        self._stack[-1].extend(items)

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._push(self.named(module, name))

    def _stack_global(self) -> None:
        module, name = self._take(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a name is no text")
        self._push(self.named(module, name))

    def _reduce(self) -> None:
        function, arguments = self._take(2)
        if not isinstance(arguments, tuple):
            raise ValueError("a call has no arguments")
        self._push(self.called(function, arguments))

    def _build(self) -> None:
        value, _ = self._take(2)
        self._push(self.built(value))

    def _set_items(self) -> None:
        items = self._to_mark()
        self._dict(self._stack[-1], items)


_INSTRUCTIONS: dict[str, Callable[[PickleMachine, Any], Any]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda m, _: None),
    "NONE": lambda m, _: m._push(None),
    "NEWTRUE": lambda m, _: m._push(True),
    "NEWFALSE": lambda m, _: m._push(False),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "LONG4"), PickleMachine._push_number),
    **dict.fromkeys(
        ("BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES"),
        PickleMachine._push,
    ),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING"), PickleMachine._push_bytes_as_text),
    "MARK": lambda m, _: m._mark(),
    "POP": lambda m, _: m._pop(),
    "POP_MARK": lambda m, _: m._to_mark(),
    "EMPTY_TUPLE": lambda m, _: m._push(()),
    "TUPLE1": lambda m, _: m._push(m._take(1)),
    "TUPLE2": lambda m, _: m._push(m._take(2)),
    "TUPLE3": lambda m, _: m._push(m._take(3)),
    "TUPLE": lambda m, _: m._push(tuple(m._to_mark())),
    "EMPTY_LIST": lambda m, _: m._push([]),
    "LIST": lambda m, _: m._push(m._to_mark()),
    "APPEND": lambda m, _: m._list(list(m._take(1))),
    "APPENDS": lambda m, _: m._list(m._to_mark()),
    "EMPTY_DICT": lambda m, _: m._push({}),
    "DICT": lambda m, _: m._push(m._dict({}, m._to_mark())),
    "SETITEM": lambda m, _: m._dict(m._stack[-3], list(m._take(2))),
    "SETITEMS": lambda m, _: m._set_items(),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), PickleMachine._put),
    "MEMOIZE": lambda m, _: m._put(len(m._table)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, n: m._push(m._table[n])),
    "GLOBAL": PickleMachine._global,
    "STACK_GLOBAL": lambda m, _: m._stack_global(),
    "REDUCE": lambda m, _: m._reduce(),
    "BUILD": lambda m, _: m._build(),
    "BINPERSID": lambda m, _: m._push(m.elsewhere(*m._take(1))),
}
