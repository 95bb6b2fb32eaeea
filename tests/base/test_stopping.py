"""SIGTERM: at once where nothing is to be saved, between two steps where something is."""

import signal
import subprocess
import sys
import time

import pytest

from nas_tf.base import stopping

_COMMAND = """
import signal, sys, time
from nas_tf.base import cli, stopping
# Where the tests run in the background of a shell, Ctrl-C is ignored there and so here.
signal.signal(signal.SIGINT, signal.default_int_handler)

def main():
    if sys.argv[-1] == "--verbosity=-1":
        print("begun", flush=True)
        time.sleep(60)
    with stopping.held_back():
        print("begun", flush=True)
        for step in range(60000):
            time.sleep(0.001)
            if stopping.asked():
                print("saved", flush=True)
                stopping.check()

cli.run(main)
"""


@pytest.mark.parametrize("saves", [False, True])
def test_a_command_ends_with_143_and_says_by_which_command_it_goes_on(saves):
    command = [sys.executable, "-c", _COMMAND, f"--verbosity=-{2 - (not saves)}"]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == "begun\n"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert process.returncode == 143
    assert out == ("saved\n" if saves else "")
    assert "Stopped by SIGTERM. This goes on with it:" in err and "Traceback" not in err
    assert err.rstrip().endswith(command[-1])


@pytest.mark.parametrize(
    "number, status, said",
    [
        (signal.SIGTERM, 143, "Stopped by SIGTERM. This begins it anew:"),
        (signal.SIGINT, 130, "Stopped. The same command begins the work anew."),
    ],
)
def test_a_command_that_saves_nothing_does_not_say_that_it_goes_on(number, status, said):
    source = _COMMAND.replace("cli.run(main)", "cli.run(main, resumes=False)")
    command = [sys.executable, "-c", source, "--verbosity=-1"]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == status and said in err and "Traceback" not in err


def test_it_waits_inside_and_is_found_between_steps(sigterm):
    steps = []
    with pytest.raises(stopping.Terminated):
        with stopping.held_back():
            for step in range(5):
                if step == 2:
                    sigterm()
                steps.append(step)
                stopping.check()
    assert steps == [0, 1, 2]
    with pytest.raises(stopping.Terminated):
        sigterm()


def test_work_on_many_items_ends_between_them(sigterm):
    seen = []
    with pytest.raises(stopping.Terminated), stopping.held_back():
        for item in stopping.watched(range(9)):
            seen.append(item)
            if item == 3:
                sigterm()
    assert seen == [0, 1, 2, 3]
