"""What quantization-aware training adds to ranges and rounding, where training images are at hand.

    python -m benchmarks.finetuning_steps --flagfile=flags/evidence.flags --model=runs/a/train/model \\
        --workdir=runs/finetuning_steps --data_dir=…

One float network is made int8 in several ways, converted and evaluated on the test images: with ranges alone,
with rounding by reconstruction (the default, no step), and with that and `--step_counts` steps of training,
each with `--finetuning_seeds` seeds. The same command goes on where it was stopped.
"""

import dataclasses
import pathlib

from absl import flags

from benchmarks.evidence_jobs import Job, run_all, run_int8
from benchmarks.finetuning_table import outcome, table
from flags import common, paths
from flags import pipeline as pipeline_flags
from nas_tf.base import cli
from nas_tf.base.errors import require
from nas_tf.base.run_folder import EVALUATE, RunFolder

_MODEL = paths.DEFINE_path("model", None, "The float model's folder, <workdir>/train/model.", required=True)
_STEPS = flags.DEFINE_list("step_counts", ["100", "1000"], "Steps of training.")
_SEEDS = flags.DEFINE_integer("finetuning_seeds", 3, "Runs of each way, with other seeds.", lower_bound=1)
_JOBS = flags.DEFINE_integer("jobs", 2, "Processes at a time, of one thread each.", lower_bound=1)
RANGES, RECONSTRUCTION = "ranges alone", "reconstruction, no step"


def main() -> None:
    """Runs what has not ended and prints the table."""
    require(
        all(text.isdigit() and int(text) > 0 for text in _STEPS.value),
        f"--step_counts={','.join(_STEPS.value)}; whole numbers above 0 are needed, separated by commas.",
    )
    require(pathlib.Path(_MODEL.value).is_dir(), f"--model={_MODEL.value!r} is no model folder.")
    ways = _ways()
    run_all([_job(way, seed) for way in ways for seed in range(_SEEDS.value)], _JOBS.value)
    print(table({way: [outcome(_folder(way, s)) for s in range(_SEEDS.value)] for way in ways}))


def _ways() -> dict[str, dict]:
    """Name → changes of the fine-tuning's settings."""
    trained = {f"reconstruction, {n} steps": {"steps": int(n)} for n in _STEPS.value}
    return {
        RANGES: {"steps": 0, "equalize": False, "rounding": "nearest"},
        RECONSTRUCTION: {"steps": 0},
    } | trained


def _folder(way: str, seed: int) -> str:
    return str(pathlib.Path(common.WORKDIR.value) / way.replace(", ", "_").replace(" ", "_") / str(seed))


def _job(way: str, seed: int) -> Job:
    config, folder = pipeline_flags.pipeline_config(), _folder(way, seed)
    finetune = dataclasses.replace(config.finetune, model=_MODEL.value, seed=seed, **_ways()[way])
    config = dataclasses.replace(config, finetune=finetune)
    ended = RunFolder(folder).stage(EVALUATE)
    return Job(f"{way}, seed {seed}", run_int8, (folder, config), lambda: ended.summary() is not None)


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir"])
    cli.run(main)
