"""`nan` and `inf` are refused for every number on the command line, in the one place that runs commands."""

import json
import pathlib
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Defines all shared flags, and gives each number that may be a fraction a value that is none.
_PROBE = """
import importlib, json, pkgutil
import flags as shared
for found in pkgutil.iter_modules(shared.__path__):
    if found.name != "model_input":  # takes no fractions, and its --resolution is another than flags.space's
        importlib.import_module("flags." + found.name)
from absl import flags
from nas_tf.base import cli
from nas_tf.base.errors import UserError
names = [f.name for module, row in flags.FLAGS.flags_by_module_dict().items() if module.startswith("flags")
         for f in row if f.flag_type() == "float"]
said = {}
for name in names:
    for value in ("nan", "inf", "-inf", "1e999"):
        before = flags.FLAGS[name].value
        try:
            flags.FLAGS(["command", f"--{name}={value}"])
            cli._guarded(lambda: said.setdefault(f"{name}={value}", "ran"), ["command"])
        except flags.IllegalFlagValueError as error:
            said[f"{name}={value}"] = str(error)
        finally:
            flags.FLAGS[name].value = before
print(json.dumps([names, said]))
"""


def test_every_flag_that_takes_a_fraction():
    done = subprocess.run(
        [sys.executable, "-c", _PROBE], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    names, said = json.loads(done.stdout)
    assert {"search_learning_rate", "target_latency_ms", "warmup_epochs", "dropout"} <= set(names)
    # Bounds refuse some of them; the others are refused on the error stream.
    assert "ran" not in said.values()
    for name in names:
        assert f"error: --{name}=nan is not a finite number; one is needed." in done.stderr


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_command_refuses_in_one_sentence(tmp_path, value):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "nas_tf.build_latency_table", f"--workdir={tmp_path}/run"),
            f"--latency_extra_seconds={value}",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and not (tmp_path / "run").exists()
    assert done.stderr == f"error: --latency_extra_seconds={value} is not a finite number; one is needed.\n"
