"""Figures of a run, one line per epoch, for programs (`metrics.jsonl`) and for TensorBoard."""

import json
import numbers
import os
import pathlib
import sys
from typing import Any

from nas_tf.base import files

METRICS_FILE = "metrics.jsonl"


class MetricLog:
    """Appends to `<folder>/metrics.jsonl` and to event files in `<folder>/tensorboard`.

    Args:
      folder: the stage's folder.
      resume_epoch: the epoch that is written next. Lines of this epoch and later ones, left
        by a run that was killed after its last checkpoint, are dropped.
    """

    def __init__(self, folder: str | pathlib.Path, resume_epoch: int = 0):
        # Here, so that reading figures (`read_metrics`, for the report) needs no TensorFlow.
        import tensorflow as tf

        self._path = pathlib.Path(folder) / METRICS_FILE
        # The run does these epochs again and would log them twice.
        kept = [line for line in self._readable() if line["epoch"] < resume_epoch]
        files.write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._epochs = {line["epoch"] for line in kept}
        self._scalar = tf.summary.scalar
        self._writer = tf.summary.create_file_writer(str(self._path.parent / "tensorboard"))

    def write(self, epoch: int, **values: Any) -> None:
        """Writes one line; numbers go to TensorBoard too, lists to the file only."""
        values = {name: _plain(value) for name, value in values.items()}
        # Opened for each line, so that a kill finds it written.
        with files.saving(self._path), open(self._path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"epoch": epoch, **values}) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._epochs.add(epoch)
        with self._writer.as_default(step=epoch):
            for name, value in values.items():
                if isinstance(value, numbers.Real):
                    self._scalar(name, float(value))
        # So that TensorBoard shows an epoch as soon as it has ended.
        self._writer.flush()

    def lacks_epoch_before(self, step: int, epoch_steps: int) -> bool:
        """Whether an epoch of so many steps ends at `step` and has no line.

        A run that was asked to end while the epoch was judged has saved its steps before that.
        """
        return step > 0 and step % epoch_steps == 0 and step // epoch_steps - 1 not in self._epochs

    def close(self) -> None:
        """Closes the event file."""
        self._writer.close()

    def _readable(self) -> list[dict[str, Any]]:
        """The lines that can be read; if there are others, the file is kept under another name."""
        lines, damaged = _read(self._path)
        if damaged:
            aside = _free_name(self._path.with_suffix(".damaged.jsonl"))
            with files.saving(aside):
                os.replace(self._path, aside)
            print(
                f"{self._path.parent.name}: {METRICS_FILE} is damaged; {len(lines)} lines of it can be read "
                f"and are kept, {damaged} cannot (the file as it was: {str(aside)!r})",
                file=sys.stderr,
                flush=True,
            )
        return lines


def read_metrics(folder: str | pathlib.Path) -> list[dict[str, Any]]:
    """The lines of `<folder>/metrics.jsonl` that can be read; none if it does not exist.

    A last line cut short by a kill is left out.
    """
    return _read(pathlib.Path(folder) / METRICS_FILE)[0]


def _read(path: pathlib.Path) -> tuple[list[dict[str, Any]], int]:
    """(the lines, each with an `epoch`, in rising order; how many others there are).

    A last line without its end is what a kill leaves, and no damage.
    """
    if not path.exists():
        return [], 0
    with files.saving(path):
        content = path.read_bytes()
    lines: list[dict[str, Any]] = []
    damaged = 0
    for text in content.splitlines(keepends=True):
        line = _parsed(text)
        # The same epoch twice, or an earlier one, is of no run that was resumed as it should.
        if line is not None and (not lines or line["epoch"] > lines[-1]["epoch"]):
            lines.append(line)
        elif text.endswith(b"\n"):
            damaged += 1
    return lines, damaged


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):  # of no UTF-8 either
        return None
    epoch = line.get("epoch") if isinstance(line, dict) else None
    return line if type(epoch) is int and epoch >= 0 else None


def _free_name(path: pathlib.Path) -> pathlib.Path:
    """The path, or the first of its kind with a number that does not exist yet."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found


def _plain(value: Any) -> Any:
    """numpy and TensorFlow values as Python ones, all the way down."""
    if hasattr(value, "numpy"):
        value = value.numpy()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
