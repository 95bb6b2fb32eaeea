"""The one command `nas-tf`: which module each subcommand is, and how it was called."""

import ast
import importlib.util
import re
from collections.abc import Callable

# In the order of the work; a subcommand is the last part of the name.
MODULES = (
    "nas_tf.pipeline",
    "nas_tf.build_latency_table",
    "nas_tf.check_latency_table",
    "nas_tf.search",
    "nas_tf.train",
    "nas_tf.describe",
    "nas_tf.import_checkpoint",
    "quant.finetune",
    "quant.audit",
    "quant.parity",
    "export.convert",
    "export.evaluate",
    "export.predict",
    "export.benchmark",
    "export.table1",
    "export.report",
)
BY_NAME = {module.rsplit(".", maxsplit=1)[-1]: module for module in MODULES}
PROGRAM = "nas-tf"
_SPELLED = re.compile(rf"python -m ({'|'.join(map(re.escape, MODULES))})\b")
# Only the repository has them under this path.
_PRESET = re.compile(r"--flagfile=flags/(\S+?)\.flags\b")


class _Call:
    by_name = False
    show_help: Callable[[], None] | None = None


def called_by_name(show_help: Callable[[], None] | None = None) -> None:
    """Notes that this process is `nas-tf`.

    Args:
      show_help: what the subcommand is to do once its flags are defined, instead of its work.
    """
    _Call.by_name, _Call.show_help = True, show_help


def help_instead() -> Callable[[], None] | None:
    """What is to be shown instead of the command's work, or nothing."""
    return _Call.show_help


def as_called(text: str) -> str:
    """`text` with commands of ours as the user calls them: by module, or as `nas-tf NAME`."""
    if not _Call.by_name:
        return text
    text = _SPELLED.sub(lambda found: f"{PROGRAM} {found.group(1).rsplit('.', maxsplit=1)[-1]}", text)
    return _PRESET.sub(r"--preset=\1", text)


def main_module(module: str) -> str:
    """The module that holds the command: rooms with a command of their name hold it in `__main__`."""
    spec = importlib.util.find_spec(module)
    return f"{module}.__main__" if spec and spec.submodule_search_locations else module


def first_sentence(module: str) -> str:
    """What a command does, from its docstring, without importing it."""
    spec = importlib.util.find_spec(main_module(module))
    if spec is None or not spec.origin:
        raise ModuleNotFoundError(module)
    with open(spec.origin, encoding="utf-8") as stream:
        text = ast.get_docstring(ast.parse(stream.read())) or ""
    sentence = " ".join(text.split("\n\n")[0].split()).removeprefix("Command: ").removesuffix(".")
    return sentence[:1].upper() + sentence[1:]
