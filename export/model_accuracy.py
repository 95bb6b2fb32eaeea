"""Accuracy of one model on one split of a dataset.

First `prepare` opens both and refuses what does not fit, then `measure` goes through the images.
"""

import collections
import concurrent.futures
import dataclasses
import pathlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from export.classifier import Classifier, load_classifier
from export.evaluate_config import EvaluateConfig
from export.tally import Tally, wilson
from nas_tf.base import stopping
from nas_tf.base.clock import Clock
from nas_tf.base.errors import require
from nas_tf.base.progress import Progress
from nas_tf.data import resize_methods
from nas_tf.data.class_names import ClassList, Matching, match_dataset
from nas_tf.distribute.workers import ALONE, Workers, output
from nas_tf.network.model_folder import digest

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


def evaluate_model(
    model: str | pathlib.Path, config: EvaluateConfig, workers: Workers = ALONE
) -> dict[str, Any]:
    """Top-1 and top-5 of a model on a split.

    Args:
      model: a `.tflite` file or a model folder.
      config: which images, and how to run.
      workers: the processes that share the images; all of them call this, and get all of it.

    Returns:
      `top1`, `top5` (shares) and their 95 % `top1_interval`, `top5_interval`, `num_examples`,
      `background_predictions` (images whose largest score is the background's; 0 if the model has
      none), `per_class`, `most_confused`, `confusion`, `images_per_second`, …

    Raises:
      UserError: unusable model or images, or class counts that do not fit.
    """
    return measure(str(model), config, prepare(str(model), config), workers)


def prepare(model: str, config: EvaluateConfig) -> Prepared:
    """Opens model and images; see `evaluate_model` for what it raises."""
    from nas_tf.data import batches
    from nas_tf.data.opening import open_config

    resize_methods.find(config.resize_method)
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


def measure(
    model: str, config: EvaluateConfig, prepared: Prepared, workers: Workers = ALONE
) -> dict[str, Any]:
    """The summary of `evaluate_model`, once model and images are open."""
    return measure_images(model, config, prepared, workers)[0]


def measure_images(
    model: str, config: EvaluateConfig, prepared: Prepared, workers: Workers = ALONE
) -> tuple[dict[str, Any], Tally]:
    """(summary, what was answered to each image), once model and images are open.

    Interrupted, it says what was counted so far, and that this is only a part.
    """
    from nas_tf.data.overview import note_shared

    classifier, size, source = prepared.classifier, prepared.size, prepared.source
    _agree(model, config, prepared, workers)
    if workers.rank == 0:
        note_shared(source, config.data.train_split, prepared.split)
    # After opening, which would distort images per second.
    clock = Clock()
    tally = Tally(np.array(prepared.matching.order) + prepared.background, classifier.num_outputs)
    try:
        with workers.interrupting():
            _count(config, prepared, tally, workers)
    except (KeyboardInterrupt, stopping.Terminated):
        if workers.rank == 0:
            _say_partial(model, tally, source.part_size(prepared.split), workers.count)
        raise
    tally.share(config.batch_size, workers)
    seconds = clock.seconds()
    return {
        "model": model,
        "kind": classifier.kind,
        "dataset": config.data.dataset,
        "split": prepared.split,
        **tally.facts(source.labels),
        "num_outputs": classifier.num_outputs,
        "background_class": bool(prepared.background),
        "input_type": classifier.input_type,
        "input_scaling": classifier.input_scaling,
        "class_names": prepared.matching.note,
        "kernels": classifier.kernels,
        "resolution": size.resolution,
        "resize_size": size.resize_size,
        "resize_method": config.resize_method,
        "resize_origin": _resize_origin(config.data.resize_size, classifier.resize_size),
        "images_per_second": tally.examples / seconds,
        "seconds": seconds,
    }, tally


def _agree(model: str, config: EvaluateConfig, prepared: Prepared, workers: Workers) -> None:
    """Refuses processes with another model, other images or other settings than the chief."""
    if workers.count == 1:
        return
    from nas_tf.distribute.shared_run import agree_on_images

    settings = dataclasses.asdict(config) | {"model": digest(model), "data": config.data.identity()}
    # It decides nothing, and machines may differ. Which batch is whose hangs on the batch size.
    del settings["num_workers"]
    workers.agree("setting", settings, "give all processes the same flags and the same model")
    agree_on_images(prepared.source, prepared.split, workers)


def _count(config: EvaluateConfig, prepared: Prepared, tally: Tally, workers: Workers) -> None:
    """Goes through the images that are this process's."""
    from nas_tf.data import batches
    from nas_tf.distribute.shards import own_batches

    source, split, classifier, _, _, size = prepared
    images = batches.evaluation_batches(
        source,
        split,
        config.batch_size,
        size.resolution,
        size.resize_size,
        config.resize_method,
        own_batches(config.batch_size, workers),
    )
    total = source.part_size(split)
    with Progress("evaluate", total, stream=output(workers)) as progress:
        for scores, labels in _scored(batches.readable(source, images), prepared):
            tally.add(scores, labels)
            # Others are about as far.
            progress.update(min(total, tally.examples * workers.count), top1=tally.top1)


def _scored(images: Iterator, prepared: Prepared) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(scores, labels) of each batch, in order, with the next ones already under way.

    Else the interpreters would wait for the slowest image of each batch, and for the counting.
    """
    from nas_tf.data import batches

    source, split, classifier, *_ = prepared
    # A model folder takes all cores for one batch already.
    ahead = 2 if classifier.kind == "tflite" else 1
    under_way: collections.deque = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(ahead)
    try:
        for pixels, labels in images:
            labels = labels.numpy()
            batches.check_labels(labels, source, split)
            under_way.append((pool.submit(classifier.scores, pixels.numpy()), labels))
            if len(under_way) > ahead:
                scores, of_these = under_way.popleft()
                yield scores.result(), of_these
        for scores, of_these in under_way:
            yield scores.result(), of_these
    finally:
        pool.shutdown(cancel_futures=True)


def _say_partial(model: str, tally: Tally, total: int, processes: int) -> None:
    if tally.examples:
        which = f"the first {tally.examples}" if processes == 1 else f"{tally.examples} (of one process)"
        low, high = wilson(int(tally.right.sum()), tally.examples)
        print(
            f"\nPartial figures of {model!r}, of {which} of {total} images only: top-1 "
            f"{tally.top1:.2%} (95 % interval {low:.2%} to {high:.2%}).",
            file=sys.stderr,
            flush=True,
        )


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
