"""A run folder: one subfolder a stage, each with its settings and its summary.

    <workdir>/<stage>/settings.json   what the stage was asked to do; written first
    <workdir>/<stage>/summary.json    what came out; written last, so it marks completion

One process at a time works in a stage's folder.
"""

import dataclasses
import json
import pathlib
from typing import Any

from nas_tf.base import files
from nas_tf.base.errors import UserError, require
from nas_tf.base.lock import hold


@dataclasses.dataclass(frozen=True)
class StageFolder:
    """The subfolder of one stage in a run folder."""

    path: pathlib.Path

    @property
    def summary_path(self) -> pathlib.Path:
        """Where the stage's summary lies once the stage has ended."""
        return self.path / "summary.json"

    def summary(self) -> dict[str, Any] | None:
        """The summary of a stage that has ended, else None."""
        if not self.summary_path.exists():
            return None
        return files.read_json(self.summary_path, "stage summary")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Marks the stage as ended."""
        files.write_json(self.summary_path, summary)


def open_stage(workdir: str, stage: str, settings: dict[str, Any]) -> StageFolder:
    """Opens (or makes) `<workdir>/<stage>` for a run with these settings.

    Args:
      workdir: the run folder.
      stage: name of the subfolder.
      settings: everything that decides the outcome; must survive JSON.

    Raises:
      UserError: the folder cannot be written, holds a run with other settings, or another
        process works in it.
    """
    require(bool(str(workdir).strip()), "--workdir is empty; name a folder for the run.")
    path = files.make_folder(pathlib.Path(workdir) / stage)
    require(
        hold(path / ".lock"),
        f"Another process works in the folder {str(path)!r}; wait for its end, or use another --workdir.",
    )
    settings = json.loads(json.dumps(settings))
    settings_path = path / "settings.json"
    if settings_path.exists():
        _refuse_other_settings(path, files.read_json(settings_path, "stage settings"), settings)
    else:
        files.write_json(settings_path, settings)
    return StageFolder(path)


def _refuse_other_settings(path: pathlib.Path, held: dict, asked: dict) -> None:
    held, asked = _flat(held), _flat(asked)
    differing = sorted(k for k in held.keys() | asked.keys() if held.get(k) != asked.get(k))
    if differing:
        shown = "; ".join(
            f"{k}: there {_short(held.get(k))}, asked {_short(asked.get(k))}" for k in differing[:5]
        )
        raise UserError(
            f"The folder {str(path)!r} holds a run with other settings ({shown}); "
            "use another --workdir, or the same settings to resume it."
        )


def _flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names, so that what differs can be named."""
    if not isinstance(settings, dict):
        return {prefix.removesuffix("."): settings}
    flat = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.")
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
