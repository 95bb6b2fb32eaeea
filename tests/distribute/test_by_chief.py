"""What the chief does alone while the others wait: in order, ended by a failure and by SIGTERM."""

import socket
import subprocess
import sys
import threading
import time

import pytest

from nas_tf.base import stopping
from nas_tf.base.errors import UserError
from nas_tf.distribute import channel as channel_module
from nas_tf.distribute import handshake, start
from nas_tf.distribute.channel import Channel
from nas_tf.distribute.workers import Connected
from tests.distribute.test_channel import FACTS, in_all


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(channel_module, "GRACE_SECONDS", 600.0)
    monkeypatch.setattr(channel_module, "_STOP_SECONDS", 0.2)


@pytest.fixture
def interrupted(monkeypatch) -> threading.Event:
    """Set where the chief's main thread would get a signal; threads stand for processes here."""
    event = threading.Event()
    monkeypatch.setattr(stopping, "ask", event.set)
    return event


def in_processes(count: int, work) -> list:
    """What `work(workers, channel)` returns or raises in each of so many threads, as commands part."""

    def run(rank, cluster):
        channel = Channel(cluster, handshake.meet(cluster, FACTS, 20.0), 20.0)
        with start._parting(cluster, channel):
            # Nothing is gathered, so no strategy is asked for anything.
            return work(Connected(cluster, channel, None), channel)

    return in_all(count, run)


def until_interrupted(event: threading.Event):
    """Work of hours, which a signal cuts short."""

    def work():
        assert event.wait(30)
        raise stopping.Terminated

    return work


def test_the_others_wait_for_what_the_chief_does_and_have_nothing_of_it():
    order = []

    def work(workers, channel):
        def alone():
            time.sleep(0.3)
            order.append("chief")
            return {"top1": 0.5}

        found = [workers.by_chief(alone)]
        order.append("after")
        # What is said after it is not taken for it, nor the other way round.
        found.append(workers.chief_says(7 if workers.rank == 0 else None))
        workers.agree("setting", 1, "nothing")
        return [*found, workers.by_chief(lambda: "second")]

    chief, *others = in_processes(3, work)
    assert chief == [{"top1": 0.5}, 7, "second"] and others == [[None, 7, None]] * 2
    assert order == ["chief", "after", "after", "after"]


def test_a_lost_worker_ends_what_the_chief_does_alone(interrupted):
    def work(workers, channel):
        if workers.rank == 1:
            channel._leaving.set()
            # As when it is killed: the connection ends without a word.
            channel._lines[0]._connection.shutdown(socket.SHUT_RDWR)
            raise RuntimeError
        return workers.by_chief(until_interrupted(interrupted))

    chief, _, other = in_processes(3, work)
    assert isinstance(chief, UserError) and str(chief) == str(other)
    assert str(chief).startswith("Lost worker 1 (127.0.0.1:") and "the same command goes on" in str(chief)


def test_sigterm_of_one_that_waits_ends_what_the_chief_does_alone(interrupted, monkeypatch):
    begun, asked = threading.Event(), threading.local()

    def check():
        if getattr(asked, "yes", False) and begun.is_set():
            raise stopping.Terminated

    monkeypatch.setattr(stopping, "check", check)

    def work(workers, channel):
        asked.yes = workers.rank == 1

        def alone():
            begun.set()
            until_interrupted(interrupted)()

        workers.by_chief(alone)

    assert [type(found) for found in in_processes(3, work)] == [stopping.Terminated] * 3


def test_an_error_of_the_chief_is_said_by_all():
    def work(workers, channel):
        def alone():
            raise UserError("The disk is full.")

        workers.by_chief(alone)

    assert [str(found) for found in in_processes(3, work)] == ["The disk is full."] * 3


def test_nothing_is_begun_once_the_run_has_ended(interrupted):
    begun = []

    def work(workers, channel):
        if workers.rank == 1:
            raise UserError("No such image.")
        while not channel.failure:
            time.sleep(0.01)
        workers.by_chief(lambda: begun.append("chief"))

    assert [str(found) for found in in_processes(2, work)] == ["No such image."] * 2
    assert begun == [] and not interrupted.is_set()


_COMMAND = """
import sys, threading, time
from nas_tf.base import cli, stopping

def main():
    threading.Timer(0.2, stopping.ask).start()
    time.sleep(60)

if sys.argv[-1] == "--verbosity=-1":
    cli.run(main)
else:  # a library's user, who handles no signal
    stopping.ask()
    print(stopping.asked())
"""


def test_a_thread_asks_the_main_one_to_end_and_cuts_its_waiting_short():
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, "--verbosity=-1"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 143 and "Stopped by SIGTERM." in done.stderr
    assert time.monotonic() - began < 50


def test_who_handles_no_signal_is_not_ended_by_one():
    done = subprocess.run([sys.executable, "-c", _COMMAND], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout == "True\n"


_CONNECTED = """
import os, signal
from nas_tf.base import stopping
from nas_tf.distribute import start
from nas_tf.distribute.config import DistributeConfig

stopping.listen()
with start.workers(DistributeConfig("multi_worker", num_devices="1")), stopping.held_back():
    os.kill(os.getpid(), signal.SIGTERM)
    print("asked" if stopping.asked() else "deaf")
"""


def test_sigterm_is_heard_once_tensorflow_has_connected_the_processes():
    """Its coordination service handles the signal, too, below Python."""
    done = subprocess.run([sys.executable, "-c", _CONNECTED], capture_output=True, text=True, timeout=120)
    assert done.stdout == "asked\n", done.stderr[-2000:]
