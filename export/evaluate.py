"""Command: accuracy of a `.tflite` file or a model folder.

    python -m export.evaluate --model=model_int8.tflite --dataset=imagenet2012 \
        --split=validation --data_dir=...
    python -m export.evaluate --model=model_int8.tflite --dataset=photos --compare_resizes=all
    python -m export.evaluate --workdir=runs/a --dataset=imagenet2012 --distribution=multi_worker \
        --num_devices=4
    python -m export.evaluate --model=new.tflite --compare_with=old.tflite --dataset=photos --per_class
"""

import dataclasses
from typing import Any

from absl import flags

from export import resize_comparison
from export.evaluate_config import EvaluateConfig
from export.evaluate_run import facts_for_people, run_comparison, run_evaluate
from export.model_accuracy import evaluate_model
from flags import common, devices, model_input, paths
from flags.evaluate import evaluate_config
from nas_tf.base import cli, files
from nas_tf.base.errors import require
from nas_tf.data.resize_methods import METHODS
from nas_tf.distribute.workers import Workers

_METHODS_IN_WORDS = "; ".join(f"{name}: {method.words}" for name, method in METHODS.items()) + "."
_MODEL = paths.DEFINE_path(
    "model", "", "A .tflite file, or a model folder of ours. Default: <workdir>/convert/model_int8.tflite."
)
_COMPARE = paths.DEFINE_path(
    "compare_with",
    "",
    "Another .tflite or model folder, run on the same images: agreement, and whether one is better "
    "(McNemar's exact test). Nothing is put in a run folder.",
)
_COMPARE_MEAN = flags.DEFINE_list("compare_input_mean", [], "As --input_mean, of the file of --compare_with.")
_COMPARE_STD = flags.DEFINE_list("compare_input_std", [], "As --input_std, of the file of --compare_with.")
_PER_CLASS = flags.DEFINE_bool("per_class", False, "Also print each class's top-1 with its interval.")
_RESIZE_METHOD = flags.DEFINE_enum(
    "resize_method",
    EvaluateConfig.resize_method,
    tuple(METHODS),
    "How images are brought to the input's size. " + _METHODS_IN_WORDS,
)
_COMPARE_RESIZES = flags.DEFINE_list(
    "compare_resizes",
    [],
    "Also evaluate the model under other resizes, names of --resize_method separated by commas or all: what "
    "each costs, how many answers stay, and McNemar's exact test. With --workdir it is kept as "
    "<workdir>/resizes, and the model card says it.",
)
_OUTPUT = paths.DEFINE_path("output_json", "", "Also write the summary to this file.")


def main() -> None:
    """Evaluates the model and prints its accuracy."""
    cli.check_outputs(_OUTPUT.value)
    workdir = common.WORKDIR.value
    require(bool(workdir or _MODEL.value), "Give --model or --workdir.")
    config = dataclasses.replace(
        evaluate_config(_MODEL.value),
        input_mean=tuple(model_input.MEAN.value),
        input_std=tuple(model_input.STD.value),
        resolution=model_input.RESOLUTION.value,
        resize_method=_RESIZE_METHOD.value,
    )
    resizes = resize_comparison.chosen(_COMPARE_RESIZES.value)
    require(
        not (resizes and _COMPARE.value),
        "--compare_resizes and --compare_with are two comparisons; give one.",
    )
    require(
        bool(_COMPARE.value) or not (_COMPARE_MEAN.value or _COMPARE_STD.value),
        "--compare_input_mean and --compare_input_std are for the file of --compare_with.",
    )
    require(
        not resizes or devices.DISTRIBUTION.value == "off",
        f"--compare_resizes is for one process, not for --distribution={devices.DISTRIBUTION.value}.",
    )
    with devices.workers() as workers:
        if _COMPARE.value:
            summary = run_comparison(workdir or "", config, _COMPARE.value, _other(config), workers)
        else:
            summary = _one_model(workdir, config, resizes, workers)
    if workers.rank:
        return
    if _OUTPUT.value:
        files.write_json(_OUTPUT.value, summary)
    facts = facts_for_people(summary, _PER_CLASS.value)
    if resizes:
        facts |= resize_comparison.facts_for_people(summary)
    cli.print_facts(
        "Evaluation",
        facts,
        f"python -m export.benchmark --workdir={workdir}" if workdir else "",
    )


def _one_model(
    workdir: str | None, config: EvaluateConfig, resizes: tuple[str, ...], workers: Workers
) -> dict[str, Any]:
    if resizes and workdir:
        return resize_comparison.run_resizes(workdir, config, resizes)
    if resizes:
        return resize_comparison.compare_resizes(_MODEL.value, config, resizes)
    if workdir:
        return run_evaluate(workdir, config, workers)
    return evaluate_model(_MODEL.value, config, workers)


def _other(config: EvaluateConfig) -> EvaluateConfig:
    """How the second model is run: alike, but for what it says, or what is said, of its own input."""
    return dataclasses.replace(
        config,
        model=_COMPARE.value,
        input_mean=tuple(_COMPARE_MEAN.value),
        input_std=tuple(_COMPARE_STD.value),
        resolution=0,
    )


if __name__ == "__main__":
    cli.run(main, resumes=False)
