"""Locks on files that end with the process that holds them, however it ends."""

import os
import pathlib
from typing import IO

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]  # no such locks on this system, so none are taken

_held: dict[tuple[int, int], IO] = {}


def hold(path: pathlib.Path) -> bool:
    """Holds the lock file `path` until this process ends; False if another process holds it."""
    if fcntl is None:
        return True
    file = path.open("a", encoding="utf-8")
    facts = os.fstat(file.fileno())
    key = facts.st_dev, facts.st_ino  # not the path, which may change
    # A lock belongs to an opened file, so a second one would find it taken, by this process itself.
    if key in _held:
        file.close()
        return True
    try:
        # Such a lock ends with its process; a file that merely exists would stay and block the next run.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    except OSError:  # a file system without locks
        file.close()
        return True
    _held[key] = file
    return True
