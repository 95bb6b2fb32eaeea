"""Batches of uint8 images for training and evaluation."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from nas_tf.base.errors import UserError, require
from nas_tf.data import augment, order, preprocess, resizers, robust_views
from nas_tf.data.config import Augmentation, Part, default_resize_size
from nas_tf.data.resize_methods import CONTRACT
from nas_tf.data.sources import ArraySource, ImageSource


@dataclasses.dataclass(frozen=True)
class ImageSize:
    """Side of the network's input, and short side before the centre crop, in pixels."""

    resolution: int
    resize_size: int


def image_size(source: ImageSource, resolution: int, resize_size: int = 0) -> ImageSize:
    """The sizes for a source; a `resize_size` of 0 means its default."""
    resize_size = resize_size or default_resize_size(resolution, source.image_size)
    require(
        0 < resolution <= resize_size,
        f"The image must be resized to at least the resolution ({resolution} pixels, at "
        f"least 1) before the centre crop, not to {resize_size}.",
    )
    return ImageSize(resolution, resize_size)


def evaluation_batches(
    source: ImageSource,
    part: str | Part,
    batch_size: int,
    resolution: int,
    resize_size: int = 0,
    resize_method: str = CONTRACT,
) -> tf.data.Dataset:
    """Every image of a part once, in the fixed order; the last batch may be smaller.

    Args:
      resize_method: of `nas_tf.data.resize_methods.METHODS`.

    Returns:
      Dataset of (uint8 [N, resolution, resolution, 3], int64 [N]).
    """
    _check_batch_size(batch_size)
    size = image_size(source, resolution, resize_size)

    def prepared(image, label):
        return resizers.evaluation_image(image, size.resolution, size.resize_size, resize_method), label

    if isinstance(source, ArraySource):
        batches = source.batches(part, batch_size).map(prepared)
    else:
        examples = source.examples(part).map(prepared, num_parallel_calls=tf.data.AUTOTUNE)
        batches = examples.batch(batch_size)
    return batches.prefetch(tf.data.AUTOTUNE)


def training_batches(
    source: ImageSource,
    part: str | Part,
    batch_size: int,
    resolution: int,
    augmentation: Augmentation,
    seed: int,
    start_step: int = 0,
    resize_size: int = 0,
    rows: order.Rows | None = None,
) -> tf.data.Dataset:
    """Whole batches of augmented images for ever.

    A function of (seed, step) alone: a run that starts at `start_step` sees exactly what an
    uninterrupted one sees from there on. Without a random crop, images are prepared as for
    evaluation (`resize_size` matters only then) and flipped and coloured afterwards.

    Args:
      rows: of each batch, for one of several processes that share it; None for all.

    Returns:
      Dataset of (uint8 [batch_size, resolution, resolution, 3], int64 [batch_size]), or of `rows`.
    """
    _check_batch_size(batch_size)
    size = image_size(source, resolution, resize_size)
    cropped, robust = augmentation.min_crop_area < 1, augmentation.resize_robustness > 0

    def view(images, labels, count, number, apply):
        if not cropped:
            images = preprocess.evaluation_image(images, size.resolution, size.resize_size)
        height_width = tf.cast(tf.shape(images)[-3:-1], tf.float32)
        views = augment.sample_views(_key(seed, count), number, height_width, augmentation)
        return apply(images, size.resolution, views), labels

    def view_one(image, label, count):
        if not robust:
            return view(image, label, count, 1, augment.view_image)
        key = _key(seed, count)
        found = robust_views.view_image(image, size.resolution, size.resize_size, key, augmentation)
        return found, label

    in_batches = isinstance(source, ArraySource) and (source.image_size <= resolution or not cropped)
    if in_batches and not robust:  # each image by a resizer of its own is no work for a batch
        # Views of a whole batch at once: some ten times cheaper for small images.
        # Sampled without antialiasing, so only where no crop shrinks.
        batches = source.endless_batches(part, batch_size, seed, start_step * batch_size)
        batches = batches.enumerate(start_step).map(
            lambda count, batch: view(*batch, count, batch_size, augment.view_batch)
        )
        if rows is not None:
            stop = rows.first + rows.size
            batches = batches.map(
                lambda images, labels: (images[rows.first : stop], labels[rows.first : stop])
            )
    else:
        # Views are drawn from an image's count in the whole stream, whoever reads it.
        kept = rows or order.Rows(0, batch_size, batch_size)
        examples = (
            source.endless(part, seed, start_step * batch_size, rows)
            .enumerate(start_step * kept.size)
            .map(
                lambda place, example: view_one(*example, kept.count_of(place)),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        )
        batches = examples.batch(kept.size, drop_remainder=True)
    return batches.prefetch(tf.data.AUTOTUNE)


def readable(source: ImageSource, dataset: tf.data.Dataset) -> Iterator:
    """Iterates a dataset of the source; a reading error says what is wrong, naming the file."""
    try:
        yield from dataset
    except (tf.errors.InvalidArgumentError, tf.errors.DataLossError, tf.errors.NotFoundError) as error:
        raise source.explain(error) from error


def check_labels(labels: np.ndarray, source: ImageSource, split: str) -> None:
    """Refuses splits without labels, such as the `test` of ImageNet with its −1."""
    if labels.min() < 0 or labels.max() >= source.num_classes:
        raise UserError(
            f"The split {split!r} of dataset {source.name!r} has labels outside "
            f"0 to {source.num_classes - 1}, so it has no ground truth to compare with."
        )


def _key(seed: int, count: tf.Tensor) -> tf.Tensor:
    return tf.stack([tf.constant(seed, tf.int64), count])


def _check_batch_size(batch_size: int) -> None:
    require(batch_size > 0, f"The batch size must be at least 1, not {batch_size}.")
