"""The images of a search's two parts: batches to learn from, and accuracy on those held out for alpha."""

from collections.abc import Iterator

import numpy as np

from nas_tf.base import stopping
from nas_tf.data import batches
from nas_tf.data.config import NO_AUGMENTATION, Part
from nas_tf.data.preprocess import to_network_input
from nas_tf.data.sources import ImageSource
from nas_tf.distribute.shards import Shards
from nas_tf.distribute.workers import own_share
from nas_tf.search.problem import SearchProblem
from nas_tf.search.state import SearchState
from nas_tf.train.accuracy import AccuracyCounter
from nas_tf.train.counting import sum_counts

HELD_OUT = "held-out top-1"
_MOST_IMAGES = 5000


def _batch_size(problem: SearchProblem, part: Part) -> int:
    # A batch larger than its part would hold the same image twice.
    return min(problem.config.schedule.batch_size, _source(problem, part).part_size(part))


def _source(problem: SearchProblem, part: Part) -> ImageSource:
    return problem.source if part is problem.weight_part else problem.alpha_source


def training_images(problem: SearchProblem, part: Part, start_step: int, shards: Shards) -> Iterator:
    """Endless batches of a part from a step on. Alpha sees images as evaluation does."""
    config = problem.config
    augmentation = config.augmentation if part is problem.weight_part else NO_AUGMENTATION
    size, source = _batch_size(problem, part), _source(problem, part)
    dataset = batches.training_batches(
        source,
        part,
        size,
        config.resolution,
        augmentation,
        config.seed,
        start_step,
        config.data.resize_size,
        shards.rows(size),
    )
    return batches.readable(source, batches.on_device(dataset))


def held_out_accuracy(problem: SearchProblem, state: SearchState, choice: np.ndarray) -> float:
    """Top-1 of one network with the shared weights on held-out images, normalized batch-wise."""
    return held_out(problem, state, choice).top1


def held_out(problem: SearchProblem, state: SearchState, choice: np.ndarray) -> AccuracyCounter:
    """The same, counted.

    Moving averages of a path come from ever different networks before it, so the batch's own
    statistics are used.
    """
    # No weight was trained on these; the evaluation split is left for judging the result.
    config, source, part = problem.config, problem.alpha_source, problem.alpha_part
    number = min(_MOST_IMAGES, source.part_size(part))
    # At most all images, or there would be no whole batch.
    size = min(config.schedule.batch_size, number)
    dataset = batches.evaluation_batches(source, part, size, config.resolution, config.data.resize_size)
    accuracy = AccuracyCounter()
    # Whole batches only: a last one of few images would be normalized by next to nothing.
    whole = batches.readable(source, batches.on_device(dataset.take(number // size)))
    accuracy.add_all(
        (state.supernet(to_network_input(images), choice, training=True), labels)
        for images, labels in own_share(stopping.watched(whole), state.workers)
    )
    return sum_counts(accuracy, problem.source.num_classes, state.workers)
