"""Presets by name: files of flags that come with the package."""

import pathlib
from collections.abc import Sequence

from nas_tf.base.errors import UserError, did_you_mean

_FOLDER = pathlib.Path(__file__).resolve().parent
_FLAG = "--preset"


def names() -> list[str]:
    """All presets."""
    return sorted(path.stem for path in _FOLDER.glob("*.flags"))


def find(name: str) -> pathlib.Path:
    """The preset's file; `UserError` for another name."""
    if name not in names():
        meant = did_you_mean(name, names())
        raise UserError(f"There is no preset {name!r}; there are {', '.join(names())}.{meant}")
    return _FOLDER / f"{name}.flags"


def first_sentence(name: str) -> str:
    """What a preset is for: the first sentence of its head comment."""
    lines = find(name).read_text(encoding="utf-8").splitlines()
    head = []
    for line in lines:
        if not line.startswith("# ") or line.startswith("#  "):
            break
        head.append(line.removeprefix("# "))
    text = " ".join(head)
    ends = [end for mark in (". ", ": ", "; ") if (end := text.find(mark)) > 0]
    return text[: min(ends, default=len(text))].rstrip(".:;")


def expand(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments with `--preset=NAME` as the `--flagfile` of that preset.

    Presets go first, so that a flag that is written out holds, wherever it stands.
    """
    files, others = [], []
    waiting = iter(arguments)
    for argument in waiting:
        flag, equals, name = argument.partition("=")
        if argument == "--":
            others += [argument, *waiting]
        elif flag not in (_FLAG, _FLAG[1:]):
            others.append(argument)
        else:
            name = name if equals else next(waiting, "")
            files.append(f"--flagfile={find(name)}")
    return files + others
