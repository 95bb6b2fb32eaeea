"""TensorFlow's start-up lines are held back, and nothing else."""

import os
import subprocess
import sys

import pytest

# A command whose main is given, run as `nas_tf.base.cli` runs all of them.
_COMMAND = """
import sys
from nas_tf.base import cli
sys.argv = ["command"]
def main():
{main}
cli.run(main)
"""
_LOADS = """
    import tensorflow as tf
    print(float(tf.reduce_sum(tf.ones([3]))))
    print("own words", file=sys.stderr)
"""


def _run(main: str, folder=None, **environment: str):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    if folder:
        inherited["PYTHONPATH"] = os.pathsep.join([str(folder), os.getcwd()])
    return subprocess.run(
        [sys.executable, "-c", _COMMAND.format(main=main)],
        check=False,
        capture_output=True,
        text=True,
        env=inherited | environment,
    )


def test_only_the_commands_own_words_are_shown():
    result = _run(_LOADS)
    assert (result.returncode, result.stdout, result.stderr) == (0, "3.0\n", "own words\n")


def _stand_in(folder, ending: str) -> None:
    """A `tensorflow` that prints from below Python when it is imported, and then `ending`."""
    (folder / "tensorflow.py").write_text(f"import os\nos.write(2, b'start-up line\\n')\n{ending}\n")


@pytest.mark.parametrize("environment, shown", [({}, False), ({"TF_CPP_MIN_LOG_LEVEL": "0"}, True)])
def test_who_asks_for_logs_gets_them(tmp_path, environment, shown):
    _stand_in(tmp_path, "class config:\n    list_physical_devices = list")
    result = _run("    import tensorflow", tmp_path, **environment)
    assert result.returncode == 0, result.stderr
    assert ("start-up line" in result.stderr) == shown


@pytest.mark.parametrize("fault", ["raise ImportError('no such kernel')", "import nowhere_at_all"])
def test_an_import_that_fails_says_why(tmp_path, fault):
    _stand_in(tmp_path, fault)
    result = _run("    import tensorflow", tmp_path)
    assert result.returncode != 0
    assert "start-up line" in result.stderr
    assert "no such kernel" in result.stderr or "nowhere_at_all" in result.stderr
