"""A run folder: one subfolder per stage, with its settings and its summary.

    <workdir>/
      build_latency_table/latency_table.json
      search/architecture.json, candidates.json
      train/model/              the float network; an import writes it too, with its architecture.json
      finetune/model/           the fake-quantized network
      convert/model_int8.tflite, or model_float32.tflite, with labels.txt
      evaluate/, resizes/, benchmark/, pipeline/
      report.html
      history.jsonl             which commands worked on it, with their versions

    <workdir>/<stage>/settings.json   what the stage was asked to do; written first
    <workdir>/<stage>/summary.json    what came out; written last, so it marks completion

No other module spells these names. One process at a time works in a stage's folder.
"""

import dataclasses
import json
import os
import pathlib
from typing import Any

from nas_tf.base import files, run_history
from nas_tf.base.errors import UserError, require
from nas_tf.base.lock import hold

TABLE, SEARCH, TRAIN = "build_latency_table", "search", "train"
FINETUNE, CONVERT, EVALUATE, BENCHMARK = "finetune", "convert", "evaluate", "benchmark"
# In the order in which they run; the pipeline runs them all and keeps its own summary beside theirs.
STAGES = (TABLE, SEARCH, TRAIN, FINETUNE, CONVERT, EVALUATE, BENCHMARK)
PIPELINE = "pipeline"
# Of `export.evaluate --compare_resizes`, beside the run's own evaluation.
RESIZES = "resizes"
# Keys of summaries that hold a sentence against a result, with what to change; only where there is one.
DOUBTS = ("warning", "not_converged", "unused_budget")
# So that a checkpoint which turns out to be bad has good ones beside it.
KEPT_CHECKPOINTS = 3


@dataclasses.dataclass(frozen=True)
class StageFolder:
    """The subfolder of one stage in a run folder."""

    path: pathlib.Path

    @property
    def settings_path(self) -> pathlib.Path:
        """What the stage was asked to do."""
        return self.path / "settings.json"

    @property
    def summary_path(self) -> pathlib.Path:
        """Where the stage's summary lies once the stage has ended."""
        return self.path / "summary.json"

    @property
    def model(self) -> pathlib.Path:
        """The model folder of a stage that makes a network."""
        return self.path / "model"

    @property
    def architecture(self) -> pathlib.Path:
        """The architecture that the stage found or read."""
        return self.path / "architecture.json"

    @property
    def candidates(self) -> pathlib.Path:
        """The best architectures that a search found."""
        return self.path / "candidates.json"

    @property
    def judged(self) -> pathlib.Path:
        """How networks did that a search trained alone, by their short strings."""
        return self.path / "judged.json"

    @property
    def finalists(self) -> pathlib.Path:
        """How the best of these did in a longer training, by their short strings."""
        return self.path / "finalists.json"

    @property
    def latency_table(self) -> pathlib.Path:
        """The table that was measured in this run."""
        return self.path / "latency_table.json"

    @property
    def int8_file(self) -> pathlib.Path:
        """The `.tflite` file of a fine-tuned model."""
        return self.path / "model_int8.tflite"

    @property
    def float_file(self) -> pathlib.Path:
        """The `.tflite` file of a float model."""
        return self.path / "model_float32.tflite"

    def summary(self) -> dict[str, Any] | None:
        """The summary of a stage that has ended, else None; `UserError` if it is damaged."""
        advice = "restore it from a copy, or remove it to end the stage again"
        summary = _read(self.summary_path, "stage summary", advice)
        require(
            # Written last and never empty: taken for one it would mark work as done that is not.
            summary is None or bool(summary),
            f"The stage summary {str(self.summary_path)!r} is damaged: it is empty; {advice}.",
        )
        return summary and self._where_it_lies_now(summary)

    def settings(self) -> dict[str, Any] | None:
        """The settings of a stage that has begun, else None; `UserError` if they are damaged."""
        return _read(self.settings_path, "stage settings", "restore it from a copy, or use another --workdir")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Marks the stage as ended."""
        files.write_json(self.summary_path, summary)

    def _where_it_lies_now(self, summary: dict[str, Any]) -> dict[str, Any]:
        """The summary with paths into this folder as they are after the run folder was moved."""
        asked = _flat(self.settings() or {}).values()

        def here(value: Any) -> Any:
            # What was asked for lies where it was asked for.
            if not isinstance(value, str) or value in asked:
                return value
            *before, name = pathlib.PurePath(value).parts or ("",)
            if self.path.name not in before:
                return value
            inside = before[len(before) - before[::-1].index(self.path.name) :]
            found = self.path.joinpath(*inside, name)
            return str(found) if found.exists() else value

        return {key: here(value) for key, value in summary.items()}


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Where everything of a run lies; makes and reads nothing by itself.

    Attributes:
      path: the run folder, `--workdir`.
    """

    path: str | os.PathLike

    def stage(self, name: str) -> StageFolder:
        """The folder of a stage; `open_stage` is for the one who works in it."""
        return StageFolder(pathlib.Path(self.path) / name)

    @property
    def float_model(self) -> pathlib.Path:
        """The trained, or imported, network."""
        return self.stage(TRAIN).model

    @property
    def qat_model(self) -> pathlib.Path:
        """The fine-tuned network."""
        return self.stage(FINETUNE).model

    @property
    def int8_file(self) -> pathlib.Path:
        """The converted network."""
        return self.stage(CONVERT).int8_file

    @property
    def searched_architecture(self) -> pathlib.Path:
        """The search's result."""
        return self.stage(SEARCH).architecture

    @property
    def latency_table(self) -> pathlib.Path:
        """The table that was measured in this run."""
        return self.stage(TABLE).latency_table

    @property
    def report(self) -> pathlib.Path:
        """The page about the run."""
        return pathlib.Path(self.path) / "report.html"


def open_stage(
    workdir: str | os.PathLike,
    stage: str,
    settings: dict[str, Any],
    newer: dict[str, Any] | None = None,
) -> StageFolder:
    """Opens (or makes) `<workdir>/<stage>` for a run with these settings.

    Args:
      workdir: the run folder.
      stage: name of the subfolder.
      settings: everything that decides the outcome; must survive JSON.
      newer: defaults of settings that runs of earlier versions do not hold, by dotted name
        ("data.class_names", "blocks.0.shortcut"): such a run counts as one at the default.

    Raises:
      UserError: the folder cannot be written, holds a run with other settings, or another
        process works in it.
    """
    # An empty path is the current folder, which nobody who leaves the flag empty means.
    require(bool(str(workdir).strip()), "--workdir is empty; name a folder for the run.")
    folder = RunFolder(workdir).stage(stage)
    files.make_folder(folder.path)
    require(
        # Held from before the settings are read until the process ends, so that two cannot both begin.
        hold(folder.path / ".lock"),
        f"Another process works in the folder {str(folder.path)!r}; "
        "wait for its end, or use another --workdir.",
    )
    # As they come back from the file: a tuple would differ from the list that JSON makes of it.
    settings, newer = (json.loads(json.dumps(given)) for given in (settings, newer or {}))
    held = folder.settings()
    if held is None:
        files.write_json(folder.settings_path, settings)
    else:
        _refuse_other_settings(folder.path, newer | _flat(held), _flat(settings))
    if not folder.summary_path.exists():  # else nothing is done any more
        run_history.note(workdir, stage)
    return folder


def _refuse_other_settings(path: pathlib.Path, held: dict[str, Any], asked: dict[str, Any]) -> None:
    differing = sorted(k for k in held.keys() | asked.keys() if held.get(k) != asked.get(k))
    if differing:
        shown = "; ".join(
            f"{k if len(k) <= 60 else _short(k)}: there {_short(held.get(k))}, asked {_short(asked.get(k))}"
            for k in differing[:5]
        )
        raise UserError(
            f"The folder {str(path)!r} holds a run with other settings ({shown}); "
            "use another --workdir, or the same settings to resume it."
        )


def _flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names, so that what differs can be named.

    A list of dicts is named by its items' places; other lists are one value.
    """
    if isinstance(settings, list) and any(isinstance(item, dict) for item in settings):
        settings = dict(enumerate(settings))
    if not isinstance(settings, dict):
        return {prefix.removesuffix("."): settings}
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.")
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _read(path: pathlib.Path, what: str, advice: str) -> dict[str, Any] | None:
    """The object in a file that a stage wrote; None if there is no file."""
    if not path.exists():
        return None
    try:
        content = files.read_json(path, what)
    except UserError as error:
        raise UserError(f"{str(error).removesuffix('.')}; {advice}.") from error
    require(
        isinstance(content, dict),
        f"The {what} {str(path)!r} is damaged: it holds {_short(content)} in place of an object; {advice}.",
    )
    return content
