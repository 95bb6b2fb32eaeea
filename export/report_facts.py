"""What a run folder says about itself: plain data for the report, nothing computed twice."""

import dataclasses
import pathlib
from typing import Any

from nas_tf import files
from nas_tf.errors import require
from nas_tf.space.architecture import Architecture, from_json
from nas_tf.training.metric_log import read_metrics

STAGES = ("build_latency_table", "search", "train", "finetune", "convert", "evaluate", "benchmark")


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """Everything that the report shows.

    Attributes:
      summaries, settings: per stage; a stage that has not ended has no summary.
      metrics: per stage, one dict an epoch.
      architecture: the searched or given network, if there is one yet.
    """

    workdir: pathlib.Path
    summaries: dict[str, dict[str, Any]]
    settings: dict[str, dict[str, Any]]
    metrics: dict[str, list[dict[str, Any]]]
    architecture: Architecture | None

    def value(self, stage: str, *keys: str) -> Any:
        """A value from a stage's summary, None where the stage or the key is absent."""
        found: Any = self.summaries.get(stage)
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found


def gather(workdir: str) -> RunFacts:
    """Reads every stage's files in a run folder.

    Raises:
      UserError: there is no such folder, or no stage in it has ended.
    """
    root = pathlib.Path(workdir)
    require(root.is_dir(), f"--workdir={workdir!r} is not a folder.")
    summaries = _each(root, "summary.json", "stage summary")
    require(bool(summaries), f"The folder {workdir!r} holds no stage that has ended "
                             f"({', '.join(STAGES)}); run one first.")
    settings = _each(root, "settings.json", "stage settings")
    metrics = {stage: read_metrics(root / stage) for stage in STAGES}
    return RunFacts(root, summaries, settings, metrics, _architecture(root))


def _each(root: pathlib.Path, name: str, what: str) -> dict[str, Any]:
    return {stage: files.read_json(root / stage / name, what)
            for stage in STAGES if (root / stage / name).is_file()}


def _architecture(root: pathlib.Path) -> Architecture | None:
    for path in (root / "train/model/model.json", root / "search/architecture.json"):
        if path.is_file():
            content = files.read_json(path, "architecture")
            return from_json(content.get("architecture", content), f"architecture {str(path)!r}")
    return None
