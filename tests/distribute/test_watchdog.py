"""Calls that hold Python's lock and wait for another process come to an end."""

import json
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

ROOT = pathlib.Path(__file__).parents[2]
# The C library's sleep, called without giving up Python's lock.
_HELD = """
    import ctypes, sys
    from nas_tf.distribute import watchdog
    with watchdog.at_most(float(sys.argv[1]), "It did not come."):
        print("begun", flush=True)
        ctypes.PyDLL(None).sleep(int(sys.argv[2]))
    print("after")
"""


def start(script, *arguments):
    """Runs a script in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_what_holds_the_lock_is_ended_with_a_sentence():
    process = start(_HELD, 1, 600)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out, said) == (1, "begun\n", "error: It did not come.\n")


def test_what_ends_in_time_is_left_alone():
    process = start(_HELD, 30, 0)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out, said) == (0, "begun\nafter\n", "")


def test_a_process_that_is_killed_says_nothing():
    process = start(_HELD, 30, 600)
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGKILL)
    assert process.communicate(timeout=60)[1] == ""


_CONNECT = """
    import os, sys
    from nas_tf.base.errors import UserError
    from nas_tf.distribute import start
    from nas_tf.distribute.cluster import read_cluster
    from nas_tf.distribute.config import DistributeConfig
    from nas_tf.distribute.handshake import meet
    if sys.argv[1] == "ghost":
        facts = {"version of this program": start._code()}
        facts["version of TensorFlow"] = start._tensorflow_version()
        meet(read_cluster(), facts, 60)
        os._exit(1)
    try:
        with start.workers(DistributeConfig("multi_worker", wait_seconds=float(sys.argv[2]))):
            print("connected")
    except UserError as error:
        sys.exit(f"error: {error}")
"""


@pytest.mark.parametrize(
    "rank, seconds, sentence",
    [
        # Nobody answers for the cluster.
        (1, 30, "error: Lost the chief"),
        # TensorFlow would wait for an hour, and hears nobody meanwhile.
        (0, 12, "error: The 2 processes met, but TensorFlow did not connect them"),
    ],
)
def test_a_process_that_ends_between_meeting_and_connecting(rank, seconds, sentence, monkeypatch):
    first, second = free_ports(2)
    addresses = [f"127.0.0.1:{port}" for port in (first, second)]
    running = []
    for number, role in ((1 - rank, "ghost"), (rank, "real")):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(task))
        running.append(start(_CONNECT, role, seconds))
    running[0].communicate(timeout=120)
    out, said = running[1].communicate(timeout=120)
    assert running[1].returncode == 1 and "connected" not in out
    assert sentence in said and "Traceback" not in said


def free_ports(count):
    """Ports of which the next one is free as well."""
    found = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as next_one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                next_one.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            found.append(port)
    return found
