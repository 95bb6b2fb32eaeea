"""SIGTERM, by which schedulers end a job that has to make room: save, then end.

Without more, a process that gets it is gone at once. Here it raises `Terminated`, as Ctrl-C raises
`KeyboardInterrupt`; but inside `held_back`, where a state moves step by step, it only sets a flag,
and the loop asks for it between steps, when there is something whole to save.
"""

import contextlib
import shlex
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TypeVar

EXIT_STATUS = 128 + signal.SIGTERM  # what shells give a program that SIGTERM ended

Item = TypeVar("Item")


class Terminated(BaseException):
    """SIGTERM was received. Not an `Exception`: nobody handles it but to clean up, or to save."""


class _State:
    asked = False
    holding = 0


def listen() -> None:
    """Handles SIGTERM from here on; to be called by commands, in the main thread."""
    signal.signal(signal.SIGTERM, _receive)


def listen_again() -> None:
    """After what may have taken SIGTERM for itself without Python's knowledge; nothing if nobody listened."""
    if _listening():
        listen()


def ask() -> None:
    """Asks this process to end as SIGTERM does; to be called in any of its threads."""
    if _listening():
        # Sent to the main thread itself, whose waiting for a lock or a process it cuts short.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:  # nobody listens, and the signal would be the end at once
        _State.asked = True


def asked() -> bool:
    """Whether the process was asked to end."""
    return _State.asked


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """SIGTERM waits inside until the body asks for it."""
    _State.holding += 1
    try:
        yield
    finally:
        _State.holding -= 1


def check() -> None:
    """Raises `Terminated` if the process was asked to end."""
    if _State.asked:
        raise Terminated


def watched(items: Iterable[Item]) -> Iterator[Item]:
    """The items, as long as the process was not asked to end; then raises `Terminated`."""
    for item in items:
        check()
        yield item


def command() -> str:
    """The command line of this process, as a shell takes it."""
    # Not `sys.argv`, which has a file's path in place of `-m` and the module's name.
    return shlex.join(sys.orig_argv)


def _listening() -> bool:
    return signal.getsignal(signal.SIGTERM) is _receive


def _receive(number: int, frame: FrameType | None) -> None:
    _State.asked = True
    if not _State.holding:
        raise Terminated
