"""Figures of a run, one line per epoch, for programs (`metrics.jsonl`) and for TensorBoard."""

import json
import numbers
import pathlib
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
        kept = [line for line in read_metrics(folder) if line["epoch"] < resume_epoch]
        files.write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._scalar = tf.summary.scalar
        self._writer = tf.summary.create_file_writer(str(self._path.parent / "tensorboard"))

    def write(self, epoch: int, **values: Any) -> None:
        """Writes one line; numbers go to TensorBoard too, lists to the file only."""
        values = {name: _plain(value) for name, value in values.items()}
        # Opened for each line, so that a kill finds it written.
        with open(self._path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"epoch": epoch, **values}) + "\n")
        with self._writer.as_default(step=epoch):
            for name, value in values.items():
                if isinstance(value, numbers.Real):
                    self._scalar(name, float(value))
        # So that TensorBoard shows an epoch as soon as it has ended.
        self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        self._writer.close()


def read_metrics(folder: str | pathlib.Path) -> list[dict[str, Any]]:
    """All whole lines of `<folder>/metrics.jsonl`; none if it does not exist.

    A last line cut short by a kill is left out.
    """
    path = pathlib.Path(folder) / METRICS_FILE
    if not path.exists():
        return []
    lines = []
    # What is no text is no whole line either, and ends the reading like one cut short.
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            break
        if not isinstance(line, dict):
            break
        lines.append(line)
    return lines


def _plain(value: Any) -> Any:
    """numpy and TensorFlow values as Python ones, all the way down."""
    if hasattr(value, "numpy"):
        value = value.numpy()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
