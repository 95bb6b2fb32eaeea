"""What worked on a run folder, and when: `history.jsonl`, one line for each stage that a command opened.

Settings say what was asked for and summaries what came of it; this says by which commands and with which
versions, for a report that can be repeated. Nothing depends on it: it may be removed.
"""

import datetime
import json
import os
import pathlib
from typing import Any

from nas_tf.base import stopping

FILE = "history.jsonl"
# What decides the numbers of a run.
PACKAGES = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "ai-edge-litert", "numpy")
_MAX_BYTES = 1 << 20


class _Noting:
    on = False


def begin() -> None:
    """Notes from here on; to be called by commands. Others who call a stage have no command to repeat."""
    _Noting.on = True


def versions() -> dict[str, str]:
    """Package → version, of those that are installed."""
    # Here, since every command imports this module and few ask.
    import importlib.metadata

    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def note(workdir: str | os.PathLike, stage: str) -> None:
    """Adds that this process works on a stage of the run."""
    if not _Noting.on:
        return
    line = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "stage": stage,
        "command": stopping.command(),
        "versions": versions(),
    }
    # One write of one line: whole, or not there, also where two stages are opened at once.
    with open(pathlib.Path(workdir) / FILE, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def read(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines that can be read, oldest first; the file may be absent, cut or somebody's."""
    path = pathlib.Path(workdir) / FILE
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES)
    except OSError:
        return []
    return [line for text in content.splitlines() if (line := _parsed(text))]


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict):
        return None
    fields = {key: line.get(key) for key in ("date", "stage", "command")}
    named = line.get("versions")
    known = isinstance(named, dict) and all(isinstance(value, str) for value in named.values())
    if not known or not all(isinstance(value, str) for value in fields.values()):
        return None
    return fields | {"versions": named}
