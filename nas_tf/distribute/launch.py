"""Starts a command's other processes on this machine, and sees them end."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO

from nas_tf.base.errors import UserError, require
from nas_tf.distribute.cluster import VARIABLE, Cluster

# Set in the processes that this module starts: their --num_devices is done already.
STARTED = "NAS_TF_STARTED"
_END_SECONDS, _FAILED_SECONDS = 60.0, 20.0
_SHOWN_LINES = 15
_LOOPBACK = "127.0.0.1"


def number_of_devices(text: str) -> int:
    """What `--num_devices` means on this machine."""
    if text == "auto":
        return _gpus()
    require(
        text.isdecimal() and 1 <= int(text) <= 1024, f"--num_devices={text!r}; allowed: auto, or 1 to 1024."
    )
    return int(text)


def _gpus() -> int:
    # Looks at what there is and opens none of it.
    import tensorflow as tf

    found = len(tf.config.list_physical_devices("GPU"))
    require(
        found > 0,
        "--num_devices=auto finds no GPU that TensorFlow can use; give the number of processes that should "
        "share this machine's processor, or leave --distribution off.",
    )
    return found


def local_cluster(count: int) -> Cluster:
    """A cluster of so many processes on free ports of the loopback, of which this one is the chief."""
    # Bound all at once, so that none is given twice.
    with contextlib.ExitStack() as bound:
        ports = [_free_pair(bound) for _ in range(count)]
    return Cluster(tuple(f"{_LOOPBACK}:{port}" for port in ports), 0)


def _free_pair(bound: contextlib.ExitStack) -> int:
    for _ in range(1000):
        first = bound.enter_context(socket.socket())
        first.bind((_LOOPBACK, 0))
        port = first.getsockname()[1]
        second = bound.enter_context(socket.socket())
        # The next one, too: see `nas_tf.distribute.cluster`.
        with contextlib.suppress(OSError, OverflowError):
            second.bind((_LOOPBACK, port + 1))
            return port
    raise UserError("No two neighbouring ports are free on the loopback.")


@contextlib.contextmanager
def others(cluster: Cluster) -> Iterator[None]:
    """The other processes of a cluster on this machine run the same command inside.

    What they print on their error stream is shown if one of them failed in a way that it could not tell
    the chief. None of them outlives the body for long.
    """
    running: list[tuple[subprocess.Popen, IO[bytes]]] = []
    seconds = _END_SECONDS
    try:
        for rank in range(1, cluster.count):
            said = tempfile.TemporaryFile()
            environment = os.environ | {VARIABLE: cluster.to_json(rank), STARTED: "1"}
            command = [sys.executable, *sys.orig_argv[1:]]
            running.append((subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                                             stdout=subprocess.DEVNULL, stderr=said), said))  # fmt: skip
        yield
    except BaseException:
        # They were told, unless one is frozen or they never met.
        seconds = _FAILED_SECONDS
        raise
    finally:
        end = time.monotonic() + seconds
        for rank, (process, said) in enumerate(running, 1):
            _see_end(cluster.name(rank), process, said, max(0.0, end - time.monotonic()))


def _see_end(name: str, process: subprocess.Popen, said: IO[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with said:
        said.seek(0)
        lines = said.read().decode(errors="replace").splitlines()
    # Sentences of theirs came to the chief, which says them.
    if process.returncode and any(line.startswith("Traceback") for line in lines):
        print(f"{name} said:", *lines[-_SHOWN_LINES:], sep="\n  ", file=sys.stderr, flush=True)
