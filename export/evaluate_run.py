"""Evaluating a `.tflite` file or a model folder on a dataset."""

import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from export import file_facts, input_scaling
from nas_tf.base.errors import require
from nas_tf.base.progress import Progress
from nas_tf.base.run_folder import open_stage
from nas_tf.data.class_names import ClassList, Matching, match_dataset
from nas_tf.data.config import DataConfig
from nas_tf.network import model_folder
from nas_tf.train.accuracy import AccuracyCounter

if TYPE_CHECKING:
    from nas_tf.data.batches import ImageSize
    from nas_tf.data.sources import ImageSource

STAGE = "evaluate"
# The models of a run folder that are compared.
RUN_MODELS = {"float": "train/model", "qat": "finetune/model", "int8": "convert/model_int8.tflite"}


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Settings of an evaluation.

    Attributes:
      data: where the images are; its `resize_size` of 0 means a model folder's own, or the
        default for the model's resolution.
      model: a `.tflite` file or a model folder of ours; "" means the run's converted file.
      split: TFDS split syntax; "" means `data.eval_split`, or its default.
      batch_size: images decoded, and for model folders computed, at once.
      num_workers: interpreters of a `.tflite` file; 0: one a core.
      kernels: of a `.tflite` file, of `nas_tf.latency.host.KERNELS`: their rounding differs.
      input_mean, input_std: in pixel units, one or three numbers (or their text), for a
        `.tflite` file: x = (pixel − mean) / std; () for what the file says.
      resolution: side of the input of a `.tflite` file that leaves it open; 0: not given.
    """

    data: DataConfig
    model: str = ""
    split: str = ""
    batch_size: int = 64
    num_workers: int = 0
    kernels: str = "xnnpack"
    input_mean: tuple[str | float, ...] = ()
    input_std: tuple[str | float, ...] = ()
    resolution: int = 0


# Settings that are left out at their default: run folders from before they existed lack them.
_NEWER = ("input_mean", "input_std", "resolution")


class _Classifier(NamedTuple):
    """A model ready to run: `scores` gives [N, num_outputs] for uint8 images.

    Attributes:
      resize_size: what the model was made with; 0: not known.
      labels: one an output, or None; named: whether they are more than numbers.
      input_scaling: how pixels become its input, and why.
    """

    kind: str
    resolution: int
    resize_size: int
    num_outputs: int
    input_type: str
    kernels: str
    scores: Callable[[np.ndarray], np.ndarray]
    labels: tuple[str, ...] | None
    named: bool
    input_scaling: dict[str, str]


def run_evaluate(workdir: str, config: EvaluateConfig) -> dict[str, Any]:
    """The evaluate stage of a run folder.

    Returns:
      The summary of the converted file (or of `config.model`); without `config.model` also
      `float`, `qat` and `int8`, the summaries of the run's own models as far as they exist,
      side by side on the same images.
    """
    own = {name: str(pathlib.Path(workdir) / path) for name, path in RUN_MODELS.items()}
    model = config.model or own["int8"]
    require(pathlib.Path(model).exists(), f"There is no model {model!r} to evaluate.")
    # The model by what it is and not by its path, which may change between runs.
    settings = dataclasses.asdict(config) | {"model": model_folder.digest(model)}
    settings["data"] = config.data.identity()
    for name in ("batch_size", "num_workers", *(n for n in _NEWER if not settings[n])):
        del settings[name]
    checked = None
    if not (pathlib.Path(workdir) / STAGE / "summary.json").exists():
        # Before the stage holds these settings: other flags may be what a refusal asks for.
        if not config.model:
            _require_one_size(own, config)
        checked = _check(model, config)
    stage = open_stage(workdir, STAGE, settings)
    summary = stage.summary()
    if summary is None:
        summary = _evaluate(model, config, checked or _check(model, config))
        if not config.model:
            summary = _with_own(summary, own, config)
        stage.write_summary(summary)
    return summary


def _with_own(summary: dict[str, Any], own: dict[str, str], config: EvaluateConfig) -> dict[str, Any]:
    """The summary of the run's file, and of all its models under their names."""
    summary |= {"int8": dict(summary)} | {
        name: evaluate_model(path, config)
        for name, path in own.items()
        if name != "int8" and pathlib.Path(path).exists()
    }
    summary["seconds"] = sum(summary[name]["seconds"] for name in own if name in summary)
    return summary


def _require_one_size(own: dict[str, str], config: EvaluateConfig) -> None:
    """Models of one run are compared on the same crops, or not at all."""
    if config.data.resize_size:
        return
    sizes = {
        path: model_folder.read_description(path).resize_size
        for name, path in own.items()
        if name != "int8" and pathlib.Path(path).exists()
    }
    facts = file_facts.read(own["int8"])
    if facts and facts.resize_size:
        sizes[own["int8"]] = facts.resize_size
    require(
        len(set(sizes.values())) <= 1,
        "The models of this run were made for different crops, a short side of "
        + ", ".join(f"{size} pixels ({path!r})" for path, size in sizes.items())
        + "; give --resize_size to compare them on one.",
    )


def evaluate_model(model: str | pathlib.Path, config: EvaluateConfig) -> dict[str, Any]:
    """Top-1 and top-5 of a model on a split.

    Args:
      model: a `.tflite` file or a model folder.
      config: which images, and how to run.

    Returns:
      `top1`, `top5` (shares), `num_examples`, `background_predictions` (images whose largest
      score is the background's; 0 if the model has none), `images_per_second`, …

    Raises:
      UserError: unusable model or images, or class counts that do not fit.
    """
    return _evaluate(str(model), config, _check(str(model), config))


def _evaluate(model: str, config: EvaluateConfig, checked: "_Checked") -> dict[str, Any]:
    """`evaluate_model` once model and images are open."""
    from nas_tf.data import batches
    from nas_tf.data.overview import note_shared

    source, split, classifier, background, matching, size = checked
    note_shared(source, config.data.train_split, split)
    order, total = np.array(matching.order), source.part_size(split)
    images = batches.evaluation_batches(source, split, config.batch_size, size.resolution, size.resize_size)
    counter, predicted_background = AccuracyCounter(), 0
    start = time.monotonic()
    with Progress("evaluate", total) as progress:
        for pixels, labels in batches.readable(source, images):
            labels = labels.numpy()
            batches.check_labels(labels, source, split)
            scores = classifier.scores(pixels.numpy())
            counter.add(scores, order[labels] + background)
            predicted_background += background * int(np.sum(np.argmax(scores, 1) == 0))
            progress.update(counter.examples, top1=counter.top1)
    seconds = time.monotonic() - start
    return {
        "model": str(model),
        "kind": classifier.kind,
        "dataset": config.data.dataset,
        "split": split,
        "top1": counter.top1,
        "top5": counter.top5,
        "num_examples": counter.examples,
        "num_outputs": classifier.num_outputs,
        "background_class": bool(background),
        "background_predictions": predicted_background,
        "input_type": classifier.input_type,
        "input_scaling": classifier.input_scaling,
        "class_names": matching.note,
        "kernels": classifier.kernels,
        "resolution": size.resolution,
        "resize_size": size.resize_size,
        "resize_origin": _resize_origin(config.data.resize_size, classifier.resize_size),
        "images_per_second": counter.examples / seconds,
        "seconds": seconds,
    }


class _Checked(NamedTuple):
    """A model and the images to evaluate it on, as far as that can be told without reading them.

    Attributes:
      background: 1 if output 0 is the background, else 0.
    """

    source: "ImageSource"
    split: str
    classifier: _Classifier
    background: int
    matching: Matching
    size: "ImageSize"


def _check(model: str, config: EvaluateConfig) -> _Checked:
    """Opens both; refuses what does not fit."""
    from nas_tf.data import batches
    from nas_tf.data.opening import open_config

    require(config.batch_size > 0, f"The batch size must be at least 1, not {config.batch_size}.")
    source = open_config(config.data)
    split = source.evaluation_split(config.split or config.data.eval_split)
    source.part_size(split)
    classifier = _load(model, config)
    background = background_classes(classifier.num_outputs, source.num_classes, model)
    matching = match_classes(classifier, background, source, model, config.data.class_names)
    size = batches.image_size(
        source, classifier.resolution, config.data.resize_size or classifier.resize_size
    )
    return _Checked(source, split, classifier, background, matching, size)


def _resize_origin(asked: int, own: int) -> str:
    """Where the short side before the crop comes from, for people."""
    if asked:
        other = f"; the model was made with {own}" if own and own != asked else ""
        return f"--resize_size{other}"
    return "the model's own" if own else "the default: the model does not say its own"


def match_classes(classifier: _Classifier, background: int, source, model: str, policy: str) -> Matching:
    """Which output, background not counted, is which class of the dataset."""
    labels = classifier.labels
    if labels is not None and len(labels) == classifier.num_outputs:
        labels = labels[background:]
    return match_dataset(ClassList(f"model {model!r}", labels, classifier.named), source, policy)


def background_classes(num_outputs: int, num_classes: int, model: str) -> int:
    """1 if output 0 is the background and labels shift by one, 0 if there is none.

    Raises:
      UserError: the outputs are neither the dataset's classes nor one more.
    """
    require(
        num_outputs - num_classes in (0, 1),
        f"The model {model!r} has {num_outputs} outputs, but the dataset has {num_classes} "
        f"classes; a model for it has {num_classes}, or {num_classes + 1} with background.",
    )
    return num_outputs - num_classes


def _load(model: str, config: EvaluateConfig) -> _Classifier:
    path = pathlib.Path(model)
    require(path.exists(), f"There is no model {model!r} to evaluate.")
    if not path.is_dir():
        return _load_file(path, config)
    require(
        not (config.input_mean or config.input_std or config.resolution),
        f"{model!r} is a model folder, which says itself how images are prepared; "
        "--input_mean, --input_std and --resolution are for .tflite files.",
    )
    return _load_folder(path)


def _load_file(path: pathlib.Path, config: EvaluateConfig) -> _Classifier:
    from export.tflite_classifier import FileOptions, TFLiteClassifier

    classifier = TFLiteClassifier(
        path,
        FileOptions(
            config.num_workers,
            config.kernels,
            input_scaling.asked(config.input_mean, config.input_std),
            config.resolution,
        ),
    )
    return _Classifier(
        "tflite",
        classifier.resolution,
        classifier.resize_size,
        classifier.num_outputs,
        classifier.input_type,
        config.kernels,
        classifier,
        classifier.labels,
        classifier.named,
        classifier.input_scaling.facts(),
    )


def _load_folder(path: pathlib.Path) -> _Classifier:
    import tensorflow as tf

    from nas_tf.data.preprocess import to_network_input

    if model_folder.read_description(path).kind == "qat":
        from quant.integer_model import simulation
        from quant.model import load_qat_model

        network, description = load_qat_model(path)
        answer = simulation(network)
    else:
        network, description = model_folder.load_float_model(path)
        answer = network
    run = tf.function(lambda images: answer(to_network_input(images), training=False), reduce_retracing=True)
    return _Classifier(
        description.kind,
        description.resolution,
        description.resize_size,
        network.output_shape[-1],
        "float32",
        "",
        lambda images: run(tf.constant(images)).numpy(),
        description.labels,
        description.named,
        {"formula": "(pixel - 128) / 128", "reason": "a model folder of this project"},
    )


def facts_for_people(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary in a few printable lines."""
    facts = {
        "model": summary["model"],
        "split": f"{summary['dataset']} {summary['split']}",
        "images": summary["num_examples"],
        "top1": f"{summary['top1']:.2%}",
        "top5": f"{summary['top5']:.2%}",
    }
    if summary["background_class"]:
        facts["predicted background"] = summary["background_predictions"]
    # Summaries from before these keys existed may be shown as well.
    if scaling := summary.get("input_scaling"):
        facts["input"] = f"{scaling['formula']} ({scaling['reason']})"
    if origin := summary.get("resize_origin"):
        facts["images"] = (
            f"{facts['images']}, short side to {summary['resize_size']} pixels "
            f"({origin}), centre {summary['resolution']}"
        )
    if names := summary.get("class_names"):
        facts["classes"] = names
    if summary["kernels"]:
        facts["kernels"] = summary["kernels"]
    return facts | {"images per second": f"{summary['images_per_second']:.0f}"}
