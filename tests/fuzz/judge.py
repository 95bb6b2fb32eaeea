"""Whether a parser behaves: a value or one clear sentence, within a second and in bounded memory."""

import collections
import dataclasses
import gc
import re
import resource
import time
from collections.abc import Callable
from typing import Any

from nas_tf.base.errors import UserError

MOST_SECONDS = 1.0
# An input is some kilobytes. Reading it may load modules once.
MOST_BYTES = 192 << 20
# What an allocation may ask for beyond what the process has: TensorFlow's threads take addresses too.
_MOST_ADDRESSES = 4 << 30
_MOST_CHARACTERS = 1200


@dataclasses.dataclass
class Counts:
    """What came of a parser's inputs."""

    values: int = 0
    refusals: int = 0
    slowest_s: float = 0.0
    grown_bytes: int = 0

    @property
    def total(self) -> int:
        """All inputs."""
        return self.values + self.refusals


COUNTS: dict[str, Counts] = collections.defaultdict(Counts)


def judge(parser: str, read: Callable[[], Any]) -> Any:
    """What `read` returns, None if it refuses; anything else than these two fails the test."""
    # Of this thread, and without the collector: TensorFlow's threads, and a walk through all that it and
    # earlier tests have made, took up to two seconds that are no input's.
    gc.disable()
    try:
        began, peak = time.thread_time(), _peak_bytes()
        value, refused = _read(read)
        seconds, grown = time.thread_time() - began, _peak_bytes() - peak
    finally:
        gc.enable()
    counts = COUNTS[parser]
    counts.values += refused is None
    counts.refusals += refused is not None
    counts.slowest_s = max(counts.slowest_s, seconds)
    counts.grown_bytes = max(counts.grown_bytes, grown)
    assert seconds <= MOST_SECONDS, f"{parser} took {seconds:.1f} s"
    assert grown <= MOST_BYTES, f"{parser} took {grown:,} bytes"
    if refused is not None:
        _check_sentence(refused)
    return value


def _read(read: Callable[[], Any]) -> tuple[Any, UserError | None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_addresses() + _MOST_ADDRESSES, hard))
    try:
        return read(), None
    except UserError as error:
        return None, error
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _check_sentence(refused: UserError) -> None:
    cause: BaseException | None = refused
    while cause is not None:
        # A refusal all the same, but only after memory was asked for that is not there.
        assert not isinstance(cause, MemoryError), "memory ran out"
        cause = cause.__cause__ or cause.__context__
    # Paths are as long as the user made them.
    text = re.sub(r"'/[^']*'", "", str(refused))
    assert 10 < len(text) <= _MOST_CHARACTERS, f"{len(text)} characters: {text[:200]}"
    assert "Traceback" not in text


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10  # kilobytes on Linux


def _addresses() -> int:
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[0]) * resource.getpagesize()
