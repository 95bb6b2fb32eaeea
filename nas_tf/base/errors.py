"""The one exception for a user's mistake, and how what was received is quoted in it."""

import reprlib
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one sentence that names the thing, what was received and what is
    allowed. Commands print it without a traceback and exit with status 1.
    """


def require(condition: bool, message: str) -> None:
    """Raises `UserError(message)` unless `condition` holds."""
    if not condition:
        raise UserError(message)


def quoted(value: Any, limit: int = 60) -> str:
    """`repr(value)` in at most `limit` characters, of whatever a file from elsewhere holds."""
    # Does not walk through large or deep values only to cut them off.
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = limit
    try:
        text = short.repr(value)
    except ValueError:  # Python refuses to write whole numbers of thousands of digits
        text = f"a number of {value.bit_length()} bits" if isinstance(value, int) else type(value).__name__
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question with the most similar of the known names, for the end of a message; "" where none is."""
    # Not at the start of every command, for a message that hardly any of them prints.
    import difflib

    near = difflib.get_close_matches(name, tuple(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def shortened(text: str, limit: int = 200) -> str:
    """`text` as one line of at most `limit` characters, for reasons that a library gives."""
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
