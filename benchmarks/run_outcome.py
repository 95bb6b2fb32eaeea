"""What two runs have come to, compared: for runs that were interrupted. Defines no flags."""

import json
import pathlib
from typing import Any

from nas_tf.base import files
from nas_tf.base.errors import UserError
from nas_tf.base.run_folder import BENCHMARK, FINETUNE, PIPELINE, SEARCH, TABLE, TRAIN, RunFolder

# Of a summary: times, and paths of a run folder.
_OWN = {
    "seconds",
    "images_per_second",
    "device_seconds",
    "path",
    "model",
    "output",
    "architecture_file",
    "report",
}
# What must be there and equal to the byte, of each stage.
_FILES = {
    TABLE: (),
    SEARCH: ("search/architecture.json", "search/candidates.json", "search/metrics.jsonl"),
    TRAIN: ("train/model/weights.weights.h5", "train/metrics.jsonl"),
    FINETUNE: ("finetune/model/weights.weights.h5", "finetune/metrics.jsonl"),
}
_FILES[PIPELINE] = (*_FILES[SEARCH], *_FILES[TRAIN], *_FILES[FINETUNE], "convert/model_int8.tflite")


def differences(whole: pathlib.Path, interrupted: pathlib.Path, stage: str) -> list[str]:
    """In what an interrupted run of a stage differs from a whole one, in words."""
    found = [f"{name} differs" for name in _FILES[stage] if not _same(whole / name, interrupted / name)]
    first, second = (_summary(workdir, stage) for workdir in (whole, interrupted))
    if first != second:
        found.append(f"summary differs: {json.dumps(first)[:200]} and {json.dumps(second)[:200]}")
    return found + [f"{path} is half written" for path in half_written(interrupted)]


def half_written(workdir: pathlib.Path) -> list[pathlib.Path]:
    """Files under their final name that cannot be read, of those that are text."""
    found = []
    for path in workdir.rglob("*.json"):
        # Temporary ones begin with a dot, and a kill leaves them.
        if not path.name.startswith("."):
            try:
                files.read_json(path, "file")
            except UserError:
                found.append(path)
    return found


def _same(first: pathlib.Path, second: pathlib.Path) -> bool:
    return first.is_file() and second.is_file() and first.read_bytes() == second.read_bytes()


def _summary(workdir: pathlib.Path, stage: str) -> Any:
    summary = RunFolder(workdir).stage(stage).summary()
    if summary is None:
        return None
    if stage == TABLE:
        table = files.read_json(RunFolder(workdir).latency_table, "table")
        return {"identity": summary["identity"], "entries": sorted(table["entries"])}
    return _stripped(summary)


def _stripped(summary: Any) -> Any:
    if not isinstance(summary, dict):
        return summary
    # Measured latencies are of the moment.
    return {k: _stripped(v) for k, v in summary.items() if k not in _OWN and k != BENCHMARK}


def children(pid: int) -> list[int]:
    """Processes that a process started and that are there; none of one that has ended."""
    try:
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
