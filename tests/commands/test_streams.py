"""Standard output that nobody reads, that is closed, full, or knows few characters: quiet and correct."""

import json
import os
import pathlib
import shlex
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# A command whose main is given, run as `nas_tf.base.cli` runs all of them.
_COMMAND = """
import sys
from nas_tf.base import cli
sys.argv = ["command"]
def main():
    {main}
cli.run(main)
"""
DESCRIBE = f"{sys.executable} -m nas_tf.describe --architecture=mobilenet_v2"
MUCH = "for i in range(100_000): print('line', i)"


def shell(command: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs a command line of bash, whose status is that of the first program of a pipe."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
        env=inherited | environment,
    )


def ours(main: str) -> str:
    """The command line of a command with this body."""
    return f"{sys.executable} -c {shlex.quote(_COMMAND.format(main=main))}"


@pytest.mark.parametrize("command", [ours(MUCH), f"{sys.executable} -m quant.audit --helpfull"])
def test_a_reader_that_leaves_ends_the_command_quietly(command):
    done = shell(f"{command} | head -1 | cut -c1-4")
    # 141: 128 + SIGPIPE, as of `yes | head`. Help may fit into the pipe, so that nobody notices.
    assert done.returncode in ((141,) if "-c" in command else (0, 141))
    assert done.stderr == b""


def test_a_reader_that_leaves_before_the_last_lines():
    done = shell(f"{ours('import time; time.sleep(1); print(1)')} | true")
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("command", [ours("print(1)"), ours(MUCH), DESCRIBE, f"{DESCRIBE} --help"])
def test_a_full_disk_behind_the_output_is_an_error_of_one_line(command):
    done = shell(f"{command} > /dev/full")
    assert done.stderr == b"error: Cannot write to the standard output: No space left on device.\n"
    assert done.returncode == 1


def test_a_file_that_cannot_be_written_is_not_taken_for_the_output():
    main = "f = open('/dev/full', 'w'); f.write('x'); f.close()"
    done = shell(ours(main))
    assert b"standard output" not in done.stderr and done.returncode != 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_show_nothing_and_the_work_is_done(tmp_path, closed):
    done = shell(f"{DESCRIBE} --output_json={tmp_path}/facts.json {closed}")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads((tmp_path / "facts.json").read_text())["params"] == 3_504_872


def test_what_is_said_to_a_closed_error_stream_does_not_reach_the_output():
    done = shell(f"{sys.executable} -m nas_tf.describe --architecture=none 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_a_file_that_is_opened_does_not_become_the_output(tmp_path):
    """The lowest free descriptor is given to the next file."""
    main = f"f = open({str(tmp_path / 'a')!r}, 'w'); import os; os.write(1, b'x')"
    done = shell(f"{ours(main)} >&-")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == b""


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {}],
    ids=["C", "ascii", "latin-1", "default"],
)
def test_names_beyond_ascii(tmp_path, environment):
    folder = tmp_path / "é"
    folder.mkdir()
    done = shell(f"{DESCRIBE} --output_json={folder}/×.json", **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (folder / "×.json").exists()
    done = shell(ours("print(chr(233), chr(215), chr(8230))"), **environment)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.slow
def test_a_folder_of_images_with_a_name_beyond_ascii(tmp_path):
    """TensorFlow takes names for UTF-8, whatever Python takes them for."""
    from PIL import Image

    for name in ("été", "hiver"):
        (tmp_path / "é" / name).mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (8, 8), (index, 9, 9)).save(tmp_path / "é" / name / f"ü{index}.png")
    done = shell(
        f"{sys.executable} -m nas_tf.train --workdir={tmp_path}/ö --dataset={tmp_path}/é "
        "--train_split='train[:50%]' --eval_split='train[50%:]' --resolution=8 --epochs=1 --batch_size=2 "
        "--architecture='s8 1_3c8 h16'",
        LC_ALL="C",
        PYTHONUTF8="0",
    )
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "ö" / "train" / "summary.json").exists()


def test_what_the_disk_refuses_is_one_sentence_wherever_it_happens():
    done = shell(ours("open('a' * 300, 'w')"))
    assert done.returncode == 1
    assert done.stderr.decode() == f"error: {'a' * 300!r}: File name too long.\n"


def test_a_fault_of_the_program_still_shows_where_it_is():
    done = shell(ours("open('not/there')"))
    assert done.returncode == 1 and b"Traceback" in done.stderr
