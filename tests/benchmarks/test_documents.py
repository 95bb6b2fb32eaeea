"""The commands of README.md and docs/: how they are found, and that each is one that its program takes."""

import re
import shlex
import subprocess
import sys

import pytest

from benchmarks import document_settings
from benchmarks.document_commands import Command, commands
from nas_tf.base import subcommands
from tests.commands.test_presets import REPOSITORY

_PAGE = """# Title

    nas-tf search --workdir=a \\
        --seed=1
    python -c "
    print(1)"

prints

    1
    nas-tf is not a command here

and `python -m x.y --all` as well as `nas-tf search` and `python -m x …` or `words`.

    FAST=1 python z.py   # a remark

```python
    python -m inside
```
- a list
    nas-tf no.block
"""


def test_commands_of_a_page(tmp_path):
    (tmp_path / "README.md").write_text(_PAGE)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("\n    nas-tf search --workdir=a --seed=1\n    make b\n")
    assert commands(tmp_path) == [
        Command("README.md", 3, "nas-tf search --workdir=a --seed=1"),
        Command("README.md", 5, 'python -c "\nprint(1)"'),
        Command("README.md", 15, "FAST=1 python z.py   # a remark"),
        Command("docs/a.md", 3, "make b"),
        Command("README.md", 13, "python -m x.y --all"),
    ]


def test_what_is_changed_is_what_the_settings_say():
    assert document_settings.as_run("nas-tf COMMAND --help") == "nas-tf search --help"
    assert document_settings.as_run("nas-tf presets") == "nas-tf presets"
    assert (
        document_settings.as_run("python -m quant.parity --x") == "python -m quant.parity --x --num_images=2"
    )
    assert document_settings.as_run("python -m benchmarks.mutation").endswith(
        " --mutants=1 '--only=nas_tf/space/*'"
    )
    assert document_settings.not_run("make test") and not document_settings.not_run("nas-tf test")


def _of_flags(text):
    """Command lines of ours that read their flags with absl."""
    # Benchmarks load TensorFlow for that; running the pages tries those.
    return re.match(r"nas-tf (?!presets|--)|python -m (nas_tf|quant|export)\.", text) and "--help" not in text


ALL = [each for each in commands(REPOSITORY) if not document_settings.not_run(each.text)]


def test_every_setting_is_of_a_command():
    texts = [each.text for each in commands(REPOSITORY)]
    patterns = [pattern for pattern, _ in (*document_settings.SHORTER, *document_settings.NOT_RUN)]
    for pattern in (*patterns, *map(re.escape, document_settings.PLACEHOLDERS)):
        assert any(re.search(pattern, text) for text in texts), pattern


@pytest.mark.parametrize(
    "command", [c for c in ALL if _of_flags(c.text)], ids=lambda c: f"{c.document}:{c.line}"
)
def test_flags_of_a_command_are_known_and_none_is_missing(command):
    """With those that shorten it."""
    words = shlex.split(document_settings.as_run(command.text))
    words = ["-m", "nas_tf", *words[1:]] if words[0] == subcommands.PROGRAM else words[1:]
    done = subprocess.run(
        [sys.executable, *words, "--only_check_args"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
