"""Every command of the contract explains itself, without loading TensorFlow first."""

import subprocess
import sys

import pytest

from nas_tf.base import subcommands

COMMANDS = subcommands.MODULES
# Rooms with a command of their name hold it in `__main__`.
MODULES = tuple(map(subcommands.main_module, COMMANDS))

# Runs a command with --help in this process and then looks at what was imported.
_PROBE = """
import runpy, sys
sys.argv = ["command", "--help"]
try:
    runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
except SystemExit as ended:
    heavy = {{"tensorflow", "tf_keras", "tensorflow_datasets", "matplotlib"}} & set(sys.modules)
    assert not heavy, heavy
    sys.exit(ended.code)
"""


@pytest.mark.parametrize("module", COMMANDS)
def test_help_is_shown_without_heavy_imports(module):
    result = subprocess.run(
        [sys.executable, "-c", _PROBE.format(module=module)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert module.rsplit(".", maxsplit=1)[-1] in result.stdout  # the docstring names the command
    assert "--" in result.stdout


@pytest.mark.parametrize("module", MODULES)
def test_no_command_imports_a_command(module):
    """Commands are ends: what two of them need is in a library module."""
    probe = f"import sys, {module}; print(*[m for m in sys.modules if m in {MODULES!r}])"
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert result.stdout.split() == [module]
