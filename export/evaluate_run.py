"""The evaluation stage: a run's models side by side on the same images, or one model alone."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from export import file_facts
from export.evaluate_config import NEWER, EvaluateConfig
from export.model_accuracy import Prepared, evaluate_model, measure, measure_images, prepare
from export.tally import paired_difference
from nas_tf.base.clock import Clock
from nas_tf.base.errors import require
from nas_tf.base.run_folder import EVALUATE, RunFolder
from nas_tf.data import resize_methods
from nas_tf.data.resize_methods import CONTRACT
from nas_tf.distribute.workers import ALONE, Workers
from nas_tf.network import model_folder


def run_evaluate(workdir: str, config: EvaluateConfig, workers: Workers = ALONE) -> dict[str, Any]:
    """The evaluate stage of a run folder.

    Args:
      workdir: run folder, which all processes have to see.
      config: which images, and how to run.
      workers: the processes that share the images; all of them call this, and get all of it.

    Returns:
      The summary of the converted file (or of `config.model`); without `config.model` also
      `float`, `qat` and `int8`, the summaries of the run's own models as far as they exist,
      side by side on the same images.

    Raises:
      UserError: as `evaluate_model`; or the run's models do not see the same crops, or the
        folder holds an evaluation with other settings.
    """
    # Here, since it loads TensorFlow.
    from nas_tf.distribute.shared_run import end_stage, ended_summary, open_shared_stage

    folder = RunFolder(workdir)
    model = config.model or str(folder.int8_file)
    require(pathlib.Path(model).exists(), f"There is no model {model!r} to evaluate.")
    settings = stage_settings(model, config)
    if (summary := ended_summary(folder.stage(EVALUATE), workers)) is not None:
        # What is left is to see whether it was this evaluation.
        open_shared_stage(workdir, EVALUATE, settings, NEWER, workers)
        return summary
    # Before the stage holds these settings: other flags may be what a refusal asks for.
    own = {} if config.model else _own_models(folder)
    # A size that was asked for holds for all of them.
    if not config.data.resize_size:
        _require_one_size(own)
    prepared = prepare(model, config)
    stage = open_shared_stage(workdir, EVALUATE, settings, NEWER, workers)
    clock = Clock()
    summary = _measure_all(model, own, config, prepared, workers)
    summary |= {"seconds": clock.seconds()}
    end_stage(stage, summary, workers)
    return summary


def run_comparison(
    workdir: str,
    config: EvaluateConfig,
    other: str,
    other_config: EvaluateConfig,
    workers: Workers = ALONE,
) -> dict[str, Any]:
    """Two models on the same images, each prepared as it asks for; writes nothing.

    Args:
      workdir: whose converted file is the first model if `config.model` is "".
      config: of the first model.
      other, other_config: of the second.
      workers: as of `evaluate_model`.

    Returns:
      The summary of the first, with `compared_with`, that of the second; `agreement`, the share of
      images to which both give the same class; and what `paired_difference` says.

    Raises:
      UserError: as `evaluate_model`, before any image is judged.
    """
    model = config.model or str(RunFolder(workdir).int8_file)
    paths, configs = (model, other), (config, other_config)
    ready = [prepare(path, settings) for path, settings in zip(paths, configs, strict=True)]
    # One after the other: both at once would take the cores from each other, and so distort both rates.
    measured = [measure_images(*given, workers) for given in zip(paths, configs, ready, strict=True)]
    (summary, first), (second_summary, second) = measured
    return summary | {
        "compared_with": second_summary,
        "agreement": float(np.mean(first.answers == second.answers)),
        **paired_difference(first.right, second.right),
    }


def stage_settings(model: str, config: EvaluateConfig) -> dict[str, Any]:
    """What decides the outcome; how much is computed at once does not."""
    settings = dataclasses.asdict(config) | {
        # The model by what it is and not by its path, which may change between runs.
        "model": model_folder.digest(model),
        "data": config.data.identity(),
    }
    del settings["batch_size"], settings["num_workers"]
    return settings


def _own_models(folder: RunFolder) -> dict[str, str]:
    """The run's models that exist, by the names that they have in the summary."""
    models = {"float": folder.float_model, "qat": folder.qat_model, "int8": folder.int8_file}
    return {name: str(path) for name, path in models.items() if path.exists()}


def _require_one_size(own: dict[str, str]) -> None:
    """Models of one run are compared on the same crops, or not at all."""
    sizes = {path: size for name, path in own.items() if (size := _resize_size(name, path))}
    require(
        len(set(sizes.values())) <= 1,
        "The models of this run were made for different crops, a short side of "
        + ", ".join(f"{size} pixels ({path!r})" for path, size in sizes.items())
        + "; give --resize_size to compare them on one.",
    )


def _resize_size(name: str, path: str) -> int:
    """Short side before the crop that a model was made with, in pixels; 0: not known."""
    if name != "int8":
        return model_folder.read_description(path).resize_size
    facts = file_facts.read(path)
    return facts.resize_size if facts else 0


def _measure_all(
    model: str, own: dict[str, str], config: EvaluateConfig, prepared: Prepared, workers: Workers
) -> dict[str, Any]:
    """The summary of `model`, with those of the run's own models under their names."""
    summary = measure(model, config, prepared, workers)
    if not own:
        return summary
    # `model` is the run's converted file, which is not measured twice.
    others = {name: evaluate_model(path, config, workers) for name, path in own.items() if name != "int8"}
    return summary | {"int8": summary} | others


def facts_for_people(summary: dict[str, Any], per_class: bool = False) -> dict[str, Any]:
    """The summary in a few printable lines.

    Args:
      per_class: also a line for each class of the dataset.
    """
    facts = {
        "model": summary["model"],
        "split": f"{summary['dataset']} {summary['split']}",
        "images": summary["num_examples"],
        "top1": f"{summary['top1']:.2%}{_interval(summary, 'top1_interval')}",
        "top5": f"{summary['top5']:.2%}{_interval(summary, 'top5_interval')}",
        "outputs": f"{summary['num_outputs']}, output 0 is a background that no image belongs to"
        if summary["background_class"]
        else f"{summary['num_outputs']}, the dataset's classes without a background",
    }
    # Of five classes or fewer, every image's own is among the first five.
    if summary["num_outputs"] - bool(summary["background_class"]) <= 5:
        del facts["top5"]
    if summary["background_class"]:
        facts["predicted background"] = summary["background_predictions"]
    # Summaries from before these keys existed may be shown as well.
    if scaling := summary.get("input_scaling"):
        facts["input"] = f"{scaling['formula']} ({scaling['reason']})"
    if origin := summary.get("resize_origin"):
        facts["images"] = f"{facts['images']}, {_resize(summary, origin)}"
    if names := summary.get("class_names"):
        facts["classes"] = names
    if summary["kernels"]:
        facts["kernels"] = summary["kernels"]
    facts["images per second"] = f"{summary['images_per_second']:.0f}"
    if "compared_with" in summary:
        facts |= _comparison(summary)
    return facts | (_by_class(summary) if per_class else {})


def _resize(summary: dict[str, Any], origin: str) -> str:
    method = summary.get("resize_method", CONTRACT)
    if method != CONTRACT:
        words = resize_methods.in_words(method, summary["resolution"], summary["resize_size"])
        return f"--resize_method={method}: {words}"
    return f"short side to {summary['resize_size']} pixels ({origin}), centre {summary['resolution']}"


def _interval(summary: dict[str, Any], key: str) -> str:
    if key not in summary:
        return ""
    low, high = summary[key]
    return f" (95 % interval {low:.2%} to {high:.2%})"


def _comparison(summary: dict[str, Any]) -> dict[str, Any]:
    other = summary["compared_with"]
    low, high = summary["difference_interval"]
    return {
        "compared with": other["model"],
        "its top1": f"{other['top1']:.2%}{_interval(other, 'top1_interval')}",
        "its input": f"{other['input_scaling']['formula']}, short side to {other['resize_size']} pixels, "
        f"centre {other['resolution']}",
        "agreement": f"{summary['agreement']:.2%} of the answers are the same class",
        "difference": f"{100 * summary['difference']:+.2f} points of top-1 (95 % interval {100 * low:+.2f} "
        f"to {100 * high:+.2f})",
        "McNemar's test": f"p = {summary['p_value']:.3g}, exact; right alone: {summary['only_first_right']} "
        f"and {summary['only_second_right']} images",
    }


def _by_class(summary: dict[str, Any]) -> dict[str, Any]:
    if "per_class" not in summary:
        return {"classes one by one": "not in this summary, which an earlier version wrote"}
    return {
        f"  {row['label']}": f"{row['top1']:.2%} of {row['examples']}{_interval(row, 'top1_interval')}"
        for row in summary["per_class"]
    }
