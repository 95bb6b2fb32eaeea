"""Damaged files: bytes and structures of valid ones, changed; and bytes that are nothing."""

import copy
import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

# Numbers at the ends of fields of one, two, four and eight bytes.
_ENDS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, 1 << 63]
WIDTHS = (1, 2, 4, 8)
# In place of any value of a JSON file.
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    3.5,
    -0.0,
    10**400,
    -(10**400),
    2**63,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    "x",
    "nan",
    "é\udcff\0\n",
    "y" * 20_000,
    [],
    {},
    [[]],
    [None] * 3,
    {"": None},
    {"name": {"name": []}},
)


Make = Callable[[random.Random], Any]


def damaged(valid: list[bytes]) -> Make:
    """Bytes of a valid file with one to eight changes; now and then bytes of anything."""
    return lambda rng: _change(rng.choice(valid), rng)


def either(*makes: Make) -> Make:
    """One of several kinds of input."""
    return lambda rng: rng.choice(makes)(rng)


def _change(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.05:
        return rng.randbytes(rng.randrange(200))
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        _change_once(data, rng)
    return bytes(data)


def _change_once(data: bytearray, rng: random.Random) -> None:
    # Half of the changes near the beginning, where most of a file's structure is.
    end = rng.choice((len(data), min(len(data), 256)))
    place = rng.randrange(end + 1)
    # Mostly those that leave what follows in its place.
    kind = rng.choice((0, 1, 2, 3, 4, 5, 5, 6, 6, 6, 7, 7))
    length = rng.choice((1, 2, 4, 16, 300))
    if kind == 0:
        del data[place:]
    elif kind == 1:
        del data[place : place + length]
    elif kind == 2:
        data[place:place] = data[place : place + length]
    elif kind == 3:
        data[place:place] = rng.randbytes(length)
    elif kind == 4:
        start = rng.randrange(len(data) + 1)
        data[place : place + length] = data[start : start + length]
    elif kind == 5:
        width = rng.choice(WIDTHS)
        value = rng.choice(_ENDS) + rng.choice((-1, 0, 0, 1))
        data[place : place + width] = (value % (1 << 8 * width)).to_bytes(
            width, rng.choice(("little", "big"))
        )
    elif place < len(data):
        data[place] = data[place] ^ (1 << rng.randrange(8)) if kind == 6 else rng.randrange(256)


def restructured(valid: list[Any]) -> Make:
    """JSON content with one to three parts replaced, removed, renamed, repeated or nested."""
    return lambda rng: _restructure(rng.choice(valid), rng)


def anything() -> st.SearchStrategy[Any]:
    """JSON content of any kind."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    )


def _restructure(content: Any, rng: random.Random) -> Any:
    content = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        try:
            content = _restructure_once(content, rng)
        except RecursionError:  # nested too deeply already to be copied
            break
    return content


def _restructure_once(content: Any, rng: random.Random) -> Any:
    containers = [c for c in _containers(content) if len(c)]
    if not containers or rng.random() < 0.02:
        return copy.deepcopy(rng.choice(ODD_VALUES))
    inside = rng.choice(containers)
    key = rng.choice(list(inside)) if isinstance(inside, dict) else rng.randrange(len(inside))
    kind = rng.randrange(6)
    if kind == 0:
        del inside[key]
    elif kind == 1 and isinstance(inside, dict):
        inside[rng.choice(("", "x", "k" * 5000, str(key) + "0", str(key)[:-1]))] = inside.pop(key)
    elif kind == 1:
        inside.extend(copy.deepcopy(inside[:1]) * rng.choice((1, 50)))
    elif kind == 2:
        other = rng.choice(containers)
        inside[key] = copy.deepcopy(other)
    elif kind == 3:
        for _ in range(rng.choice((1, 5, 300))):
            inside[key] = [inside[key]]
    else:
        inside[key] = copy.deepcopy(rng.choice(ODD_VALUES))
    return content


def _containers(content: Any) -> list[Any]:
    found, left = [], [content]
    while left:
        value = left.pop()
        if isinstance(value, (dict, list)):
            found.append(value)
            left += value.values() if isinstance(value, dict) else value
    return found
