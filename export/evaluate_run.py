"""Evaluating a `.tflite` file or a model folder on a dataset."""

import dataclasses
import pathlib
import time
from typing import Any, Callable, NamedTuple

import numpy as np

from nas_tf import model_folder
from nas_tf.data.config import DataConfig
from nas_tf.errors import require
from nas_tf.run_folder import open_stage
from nas_tf.training.accuracy import AccuracyCounter
from nas_tf.training.progress import Progress

STAGE = "evaluate"
# The models of a run folder that are compared.
RUN_MODELS = {"float": "train/model", "qat": "finetune/model",
              "int8": "convert/model_int8.tflite"}


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
    """

    data: DataConfig
    model: str = ""
    split: str = ""
    batch_size: int = 64
    num_workers: int = 0
    kernels: str = "xnnpack"


class _Classifier(NamedTuple):
    """A model ready to run: `scores` gives [N, num_outputs] for uint8 images."""

    kind: str
    resolution: int
    resize_size: int
    num_outputs: int
    input_type: str
    kernels: str
    scores: Callable[[np.ndarray], np.ndarray]


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
    for name in ("batch_size", "num_workers"):
        del settings[name]
    stage = open_stage(workdir, STAGE, settings)
    summary = stage.summary()
    if summary is None:
        summary = evaluate_model(model, config)
        if not config.model:
            summary |= {name: evaluate_model(path, config) for name, path in own.items()
                        if name != "int8" and pathlib.Path(path).exists()}
            summary["int8"] = {k: v for k, v in summary.items() if k not in own}
            summary["seconds"] = sum(summary[name]["seconds"] for name in own if name in summary)
        stage.write_summary(summary)
    return summary


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
    # pylint: disable=import-outside-toplevel
    from nas_tf.data import batches
    from nas_tf.data.overview import note_shared
    from nas_tf.data.sources import open_config

    require(config.batch_size > 0, f"The batch size must be at least 1, not {config.batch_size}.")
    source = open_config(config.data)
    split = source.evaluation_split(config.split or config.data.eval_split)
    total = source.part_size(split)
    note_shared(source, config.data.train_split, split)
    classifier = _load(str(model), config)
    background = background_classes(classifier.num_outputs, source.num_classes, str(model))
    size = batches.image_size(source, classifier.resolution,
                              config.data.resize_size or classifier.resize_size)
    images = batches.evaluation_batches(
        source, split, config.batch_size, size.resolution, size.resize_size)
    counter, predicted_background = AccuracyCounter(), 0
    start = time.monotonic()
    with Progress("evaluate", total) as progress:
        for pixels, labels in batches.readable(source, images):
            labels = labels.numpy()
            batches.check_labels(labels, source, split)
            scores = classifier.scores(pixels.numpy())
            counter.add(scores, labels + background)
            predicted_background += background * int(np.sum(np.argmax(scores, 1) == 0))
            progress.update(counter.examples, top1=counter.top1)
    seconds = time.monotonic() - start
    return {
        "model": str(model), "kind": classifier.kind, "dataset": config.data.dataset,
        "split": split, "top1": counter.top1, "top5": counter.top5,
        "num_examples": counter.examples, "num_outputs": classifier.num_outputs,
        "background_class": bool(background), "background_predictions": predicted_background,
        "input_type": classifier.input_type, "kernels": classifier.kernels, "resolution": size.resolution,
        "resize_size": size.resize_size, "images_per_second": counter.examples / seconds,
        "seconds": seconds,
    }


def background_classes(num_outputs: int, num_classes: int, model: str) -> int:
    """1 if output 0 is the background and labels shift by one, 0 if there is none.

    Raises:
      UserError: the outputs are neither the dataset's classes nor one more.
    """
    require(num_outputs - num_classes in (0, 1),
            f"The model {model!r} has {num_outputs} outputs, but the dataset has {num_classes} "
            f"classes; a model for it has {num_classes}, or {num_classes + 1} with background.")
    return num_outputs - num_classes


def _load(model: str, config: EvaluateConfig) -> _Classifier:
    path = pathlib.Path(model)
    require(path.exists(), f"There is no model {model!r} to evaluate.")
    return _load_folder(path) if path.is_dir() else _load_file(path, config)


def _load_file(path: pathlib.Path, config: EvaluateConfig) -> _Classifier:
    from export.tflite_classifier import TFLiteClassifier

    classifier = TFLiteClassifier(path, config.num_workers, config.kernels)
    return _Classifier("tflite", classifier.resolution, 0, classifier.num_outputs,
                       classifier.input_type, config.kernels, classifier)


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
    run = tf.function(lambda images: answer(to_network_input(images), training=False),
                      reduce_retracing=True)
    return _Classifier(description.kind, description.resolution, description.resize_size,
                       network.output_shape[-1], "float32", "",
                       lambda images: run(tf.constant(images)).numpy())


def facts_for_people(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary in a few printable lines."""
    facts = {"model": summary["model"], "split": f"{summary['dataset']} {summary['split']}",
             "images": summary["num_examples"], "top1": f"{summary['top1']:.2%}",
             "top5": f"{summary['top5']:.2%}"}
    if summary["background_class"]:
        facts["predicted background"] = summary["background_predictions"]
    if summary["kernels"]:
        facts["kernels"] = summary["kernels"]
    return facts | {"images per second": f"{summary['images_per_second']:.0f}"}
