"""A stage's folder: one process at a time, other settings named, and where it may lie."""

import subprocess
import sys

import pytest

from nas_tf.base import files
from nas_tf.base.errors import UserError
from nas_tf.base.run_folder import open_stage

_OPEN = """
import sys
from nas_tf.base.run_folder import open_stage
from nas_tf.base.errors import UserError
try:
    open_stage(sys.argv[1], "stage", {"a": 1})
except UserError as error:
    sys.exit(str(error))
print("open", flush=True)
sys.stdin.read()
"""


def _other_process(workdir):
    return subprocess.Popen(
        [sys.executable, "-c", _OPEN, str(workdir)],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    with _other_process(tmp_path) as first:
        assert first.stdout.readline() == "open\n"
        with pytest.raises(UserError, match="Another process works in the folder"):
            open_stage(str(tmp_path), "stage", {"a": 1})
        open_stage(str(tmp_path), "other_stage", {"a": 1})
        first.kill()
        first.wait()
    open_stage(str(tmp_path), "stage", {"a": 1})
    open_stage(str(tmp_path), "stage", {"a": 1})  # the same process may


def test_other_settings_are_named_however_deep(tmp_path):
    open_stage(str(tmp_path), "stage", {"data": {"dataset": "x" * 80, "size": 1}, "b": None})
    with pytest.raises(UserError, match=r"other settings \(data\.size: there 1, asked 2\)"):
        open_stage(str(tmp_path), "stage", {"data": {"dataset": "x" * 80, "size": 2}, "b": None})


@pytest.mark.parametrize("workdir", ["", " "])
def test_an_empty_name_is_refused(workdir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--workdir is empty"):
        open_stage(workdir, "stage", {})
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "taken").write_text("precious")
    with pytest.raises(UserError, match="Cannot write to the folder '.*taken': it is a file"):
        files.check_writable(tmp_path / "taken" / "x.json")
    with pytest.raises(UserError, match="Cannot write the file '.*': it is a folder"):
        files.write_json(tmp_path, {})
    assert (tmp_path / "taken").read_text() == "precious"
