"""Accuracy of one model on one split of a dataset.

First `prepare` opens both and refuses what does not fit, then `measure` goes through the images.
"""

import pathlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from export.classifier import Classifier, load_classifier
from export.evaluate_config import EvaluateConfig
from nas_tf.base.clock import Clock
from nas_tf.base.errors import require
from nas_tf.base.progress import Progress
from nas_tf.data.class_names import ClassList, Matching, match_dataset
from nas_tf.train.accuracy import AccuracyCounter

if TYPE_CHECKING:
    from nas_tf.data.batches import ImageSize
    from nas_tf.data.sources import ImageSource


class Prepared(NamedTuple):
    """A model and the images to evaluate it on, as far as that can be told without reading them.

    Attributes:
      split: TFDS split syntax.
      background: 1 if output 0 is the background, which no image belongs to, else 0.
      matching: which output, background not counted, is which class of the dataset.
      size: of the images that the model is given.
    """

    source: "ImageSource"
    split: str
    classifier: Classifier
    background: int
    matching: Matching
    size: "ImageSize"


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
    return measure(str(model), config, prepare(str(model), config))


def prepare(model: str, config: EvaluateConfig) -> Prepared:
    """Opens model and images; see `evaluate_model` for what it raises."""
    from nas_tf.data import batches
    from nas_tf.data.opening import open_config

    require(config.batch_size > 0, f"The batch size must be at least 1, not {config.batch_size}.")
    source = open_config(config.data)
    split = source.evaluation_split(config.split or config.data.eval_split)
    source.part_size(split)  # refuses a split that is not there
    classifier = load_classifier(model, config)
    background = background_classes(classifier.num_outputs, source.num_classes, model)
    matching = match_classes(classifier, background, source, model, config.data.class_names)
    resize_size = config.data.resize_size or classifier.resize_size
    size = batches.image_size(source, classifier.resolution, resize_size)
    return Prepared(source, split, classifier, background, matching, size)


def measure(model: str, config: EvaluateConfig, prepared: Prepared) -> dict[str, Any]:
    """The summary of `evaluate_model`, once model and images are open."""
    from nas_tf.data.overview import note_shared

    classifier, size = prepared.classifier, prepared.size
    note_shared(prepared.source, config.data.train_split, prepared.split)
    # After opening, which would distort images per second.
    clock = Clock()
    counter, background_predictions = _count(config, prepared)
    seconds = clock.seconds()
    return {
        "model": model,
        "kind": classifier.kind,
        "dataset": config.data.dataset,
        "split": prepared.split,
        "top1": counter.top1,
        "top5": counter.top5,
        "num_examples": counter.examples,
        "num_outputs": classifier.num_outputs,
        "background_class": bool(prepared.background),
        "background_predictions": background_predictions,
        "input_type": classifier.input_type,
        "input_scaling": classifier.input_scaling,
        "class_names": prepared.matching.note,
        "kernels": classifier.kernels,
        "resolution": size.resolution,
        "resize_size": size.resize_size,
        "resize_origin": _resize_origin(config.data.resize_size, classifier.resize_size),
        "images_per_second": counter.examples / seconds,
        "seconds": seconds,
    }


def _count(config: EvaluateConfig, prepared: Prepared) -> tuple[AccuracyCounter, int]:
    """(hits among all images, how many were taken for background)."""
    from nas_tf.data import batches

    source, split, classifier, background, matching, size = prepared
    # The dataset's class → the model's output.
    outputs = np.array(matching.order) + background
    images = batches.evaluation_batches(source, split, config.batch_size, size.resolution, size.resize_size)
    counter, background_predictions = AccuracyCounter(), 0
    with Progress("evaluate", source.part_size(split)) as progress:
        for pixels, labels in batches.readable(source, images):
            labels = labels.numpy()
            batches.check_labels(labels, source, split)
            scores = classifier.scores(pixels.numpy())
            counter.add(scores, outputs[labels])
            if background:
                background_predictions += int(np.sum(np.argmax(scores, 1) == 0))
            progress.update(counter.examples, top1=counter.top1)
    return counter, background_predictions


def match_classes(classifier: Classifier, background: int, source, model: str, policy: str) -> Matching:
    """Which output, background not counted, is which class of the dataset."""
    labels = classifier.labels
    if labels is not None and len(labels) == classifier.num_outputs:
        # The background's label names no class of the dataset.
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


def _resize_origin(asked: int, own: int) -> str:
    """Where the short side before the crop comes from, for people."""
    if asked:
        other = f"; the model was made with {own}" if own and own != asked else ""
        return f"--resize_size{other}"
    return "the model's own" if own else "the default: the model does not say its own"
