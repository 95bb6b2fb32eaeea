"""What a run folder says about itself: plain data for the report, nothing computed twice."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from nas_tf.base import files
from nas_tf.base.errors import require
from nas_tf.base.metric_log import read_metrics
from nas_tf.base.run_folder import CONVERT, SEARCH, STAGES, RunFolder, StageFolder
from nas_tf.network.model_folder import DESCRIPTION_FILE, WEIGHTS_FILE, read_description
from nas_tf.space.architecture import Architecture, from_json


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """Everything that the report shows.

    Attributes:
      summaries, settings: per stage; a stage that has not ended has no summary.
      metrics: per stage, one dict per epoch.
      architecture: the searched or given network, if there is one yet.
      resolution, num_classes: of that network; 0 if not known yet.
      weights_bytes: of the float network's weights file; None before training.
    """

    workdir: pathlib.Path
    summaries: dict[str, dict[str, Any]]
    settings: dict[str, dict[str, Any]]
    metrics: dict[str, list[dict[str, Any]]]
    architecture: Architecture | None
    resolution: int
    num_classes: int
    weights_bytes: int | None

    def value(self, stage: str, *keys: str) -> Any:
        """A value from a stage's summary, None where the stage or the key is absent."""
        found: Any = self.summaries.get(stage)
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    @property
    def converted_file(self) -> pathlib.Path | None:
        """The run's `.tflite`; None where there is none."""
        # A summary's paths are those of today, also where the run folder has moved since.
        written = self.value(CONVERT, "output")
        return pathlib.Path(written) if isinstance(written, str) and pathlib.Path(written).is_file() else None


def gather(workdir: str) -> RunFacts:
    """Reads every stage's files in a run folder.

    Raises:
      UserError: there is no such folder, or no stage in it has ended.
    """
    root = pathlib.Path(workdir)
    require(root.is_dir(), f"--workdir={workdir!r} is not a folder.")
    folder = RunFolder(root)
    summaries = _each(folder, StageFolder.summary)
    require(
        bool(summaries),
        f"The folder {workdir!r} holds no stage that has ended ({', '.join(STAGES)}); run one first.",
    )
    settings = _each(folder, StageFolder.settings)
    metrics = {stage: read_metrics(folder.stage(stage).path) for stage in STAGES}
    model = folder.float_model
    if (model / DESCRIPTION_FILE).is_file():
        described = read_description(model)
        return RunFacts(
            root,
            summaries,
            settings,
            metrics,
            described.architecture,
            described.resolution,
            described.num_classes,
            (model / WEIGHTS_FILE).stat().st_size,
        )
    # Before training, the search's settings are all that tells the size.
    search = settings.get(SEARCH, {})
    return RunFacts(
        root,
        summaries,
        settings,
        metrics,
        _searched(folder),
        search.get("resolution", 0),
        search.get("num_classes", 0),
        None,
    )


def _each(folder: RunFolder, read: Callable[[StageFolder], dict[str, Any] | None]) -> dict[str, Any]:
    """What `read` finds, for each stage where it is there."""
    return {stage: found for stage in STAGES if (found := read(folder.stage(stage))) is not None}


def _searched(folder: RunFolder) -> Architecture | None:
    path = folder.searched_architecture
    if not path.is_file():
        return None
    return from_json(files.read_json(path, "architecture"), f"architecture {str(path)!r}")
