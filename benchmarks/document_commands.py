"""The commands that README.md and docs/ show, read out of their text.

A command is an indented block whose first word is a program below, or such a text between backquotes.
Blocks that begin otherwise are what a command prints.
"""

import dataclasses
import pathlib
import re
import shlex
from collections.abc import Iterable, Iterator

PROGRAMS = ("python", "python3", "pip", "make", "nas-tf")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S* ")
_INLINE = re.compile(r"`([^`]+)`")
_FENCE = re.compile(r"```.*?```\n", re.DOTALL)
# Stands for flags that the text leaves out.
_LEFT_OUT = "…"


@dataclasses.dataclass(frozen=True)
class Command:
    """A command line as a document shows it."""

    document: str
    line: int
    text: str


def commands(root: pathlib.Path) -> list[Command]:
    """All commands of README.md and then docs/, in order, each once.

    A text between backquotes that leaves flags out, or is the beginning of a command shown elsewhere, is
    a name and no command.
    """
    documents = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    found: list[Command] = []
    mentioned: list[Command] = []
    for path in documents:
        name, text = path.relative_to(root).as_posix(), _without_fences(path.read_text(encoding="utf-8"))
        found += [Command(name, line, shown) for line, shown in _blocks(text)]
        mentioned += [Command(name, line, shown) for line, shown in _inline(text)]
    rest = [each for each in mentioned if not any(other.text.startswith(each.text) for other in found)]
    return list(_once(found + rest))


def _once(found: Iterable[Command]) -> Iterator[Command]:
    seen = set()
    for command in found:
        if command.text not in seen:
            seen.add(command.text)
            yield command


def _without_fences(text: str) -> str:
    """With programs in other languages as empty lines, so that numbers of lines stay."""
    return _FENCE.sub(lambda fence: "\n" * fence.group().count("\n"), text)


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """Line number and text of commands in indented blocks."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        if not lines[at].startswith("    ") or at and lines[at - 1].strip():
            at += 1
            continue
        end = at
        while end < len(lines) and lines[end].startswith("    "):
            end += 1
        if _is_command(lines[at][4:]):
            yield from _joined(at + 1, [line[4:] for line in lines[at:end]])
        at = end


def _joined(number: int, lines: list[str]) -> Iterator[tuple[int, str]]:
    """Commands of a block: lines that end in a backslash or inside of quotes go on in the next."""
    start, text = number, ""
    for offset, line in enumerate(lines):
        if not text:
            start = number + offset
        text += line
        if text.endswith("\\"):
            text = text[:-1].rstrip() + " "
        elif not _is_whole(text):
            text += "\n"
        else:
            yield start, re.sub(r" {2,}(?=--)", " ", text).split("     #")[0].rstrip()
            text = ""


def _is_whole(text: str) -> bool:
    try:
        shlex.split(text)
    except ValueError:
        return False
    return True


def _inline(text: str) -> Iterator[tuple[int, str]]:
    for match in _INLINE.finditer(text):
        shown = " ".join(match.group(1).split())
        if _is_command(shown) and " " in shown and _LEFT_OUT not in shown:
            yield text.count("\n", 0, match.start()) + 1, shown


def _is_command(text: str) -> bool:
    return _ASSIGNMENT.sub("", text).split(" ")[0] in PROGRAMS
