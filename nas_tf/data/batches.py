"""Batches of uint8 images for training and evaluation."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from nas_tf.base.errors import UserError, require
from nas_tf.data import augment, decode, order, preprocess, resizers, robust_views
from nas_tf.data.config import Augmentation, Part, default_resize_size
from nas_tf.data.resize_methods import CONTRACT
from nas_tf.data.sources import ArraySource, ImageSource

# Batches that wait for their reader. AUTOTUNE would double its number each time that the reader waits, up to
# 2048, all of which fill up when the reader is slow again.
READY = 8
_AHEAD = 2  # batches in a GPU's memory before they are needed


@dataclasses.dataclass(frozen=True)
class ImageSize:
    """Side of the network's input, and short side before the centre crop, in pixels."""

    resolution: int
    resize_size: int


def image_size(source: ImageSource, resolution: int, resize_size: int = 0) -> ImageSize:
    """The sizes for a source; a `resize_size` of 0 means its default."""
    # What is cropped already is resized by nobody.
    resize_size = source.cropped_to or resize_size or default_resize_size(resolution, source.image_size)
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
    rows: order.Rows | None = None,
) -> tf.data.Dataset:
    """Every image of a part once, in the fixed order; the last batch may be smaller.

    Args:
      resize_method: of `nas_tf.data.resize_methods.METHODS`.
      rows: as of `nas_tf.distribute.shards.own_batches`, for one of several processes that share the part;
        None for all.

    Returns:
      Dataset of (uint8 [N, resolution, resolution, 3], int64 [N]).
    """
    _check_batch_size(batch_size)
    size = image_size(source, resolution, resize_size)

    def prepared(image, label):
        return resizers.evaluation_image(image, size.resolution, size.resize_size, resize_method), label

    if isinstance(source, ArraySource):
        batches = source.batches(part, batch_size, rows).map(prepared)
    else:
        examples = source.examples(part, rows).map(prepared, num_parallel_calls=tf.data.AUTOTUNE)
        batches = examples.batch(batch_size)
    return batches.prefetch(READY)


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
    views = _Views(image_size(source, resolution, resize_size), augmentation, seed)
    in_batches = isinstance(source, ArraySource) and (source.image_size <= resolution or not views.cropped)
    if in_batches and not views.robust:  # each image by a resizer of its own is no work for a batch
        # Views of a whole batch at once: some ten times cheaper for small images.
        # Sampled without antialiasing, so only where no crop shrinks.
        batches = source.endless_batches(part, batch_size, seed, start_step * batch_size)
        batches = batches.enumerate(start_step).map(
            lambda count, batch: (views.of_batch(batch[0], count, batch_size), batch[1])
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
            source.endless_stored(part, seed, start_step * batch_size, rows)
            .enumerate(start_step * kept.size)
            .map(
                lambda place, cell: (views.of_stored(source, cell[0], kept.count_of(place)), cell[1]),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        )
        batches = examples.batch(kept.size, drop_remainder=True)
    return batches.prefetch(READY)


@dataclasses.dataclass(frozen=True)
class _Views:
    """How images become views, each a function of (seed, count) and the image's size."""

    size: ImageSize
    augmentation: Augmentation
    seed: int

    @property
    def cropped(self) -> bool:
        """Whether crops are random; else views are of what evaluation sees."""
        return self.augmentation.min_crop_area < 1

    @property
    def robust(self) -> bool:
        """Whether some images are resized as other apps do it."""
        return self.augmentation.resize_robustness > 0

    def of_batch(self, images: tf.Tensor, count: tf.Tensor, number: int) -> tf.Tensor:
        """Views of so many equally large images."""
        if not self.cropped:
            images = self._as_in_evaluation(images)
            if not self.augmentation.changes:
                return images
        drawn = self._drawn(count, number, tf.shape(images)[1:3])
        return augment.view_batch(images, self.size.resolution, drawn)

    def of_stored(self, source: ImageSource, stored: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """The view of one stored image."""
        if self.robust:
            own, key = self.size, self._key(count)
            image = source.image(stored)
            return robust_views.view_image(image, own.resolution, own.resize_size, key, self.augmentation)
        if not (self.cropped and source.encodes):
            return self._of_image(source.image(stored), count)
        encoded = source.encoded(stored)
        jpeg = decode.jpeg_size(*encoded)
        # Of a JPEG, only the box has to be decoded.
        return tf.cond(
            jpeg[0] > 0,
            lambda: augment.view_jpeg(
                encoded.content,
                jpeg,
                self.size.resolution,
                self._drawn(count, 1, jpeg),
                self.augmentation.reduced_decoding,
            ),
            lambda: self._of_image(source.decode(encoded), count),
        )

    def _of_image(self, image: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        if not self.cropped:
            image = self._as_in_evaluation(image)
            if not self.augmentation.changes:
                return image
        return augment.view_image(image, self.size.resolution, self._drawn(count, 1, tf.shape(image)[:2]))

    def _as_in_evaluation(self, images: tf.Tensor) -> tf.Tensor:
        return preprocess.evaluation_image(images, self.size.resolution, self.size.resize_size)

    def _drawn(self, count: tf.Tensor, number: int, height_width: tf.Tensor) -> augment.Views:
        height_width = tf.cast(height_width, tf.float32)
        return augment.sample_views(self._key(count), number, height_width, self.augmentation)

    def _key(self, count: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.constant(self.seed, tf.int64), count])


def readable(source: ImageSource, dataset: tf.data.Dataset) -> Iterator:
    """Iterates a dataset of the source; a reading error says what is wrong, naming the file."""
    try:
        yield from dataset
    except (tf.errors.InvalidArgumentError, tf.errors.DataLossError, tf.errors.NotFoundError) as error:
        raise source.explain(error) from error


def on_device(dataset: tf.data.Dataset, device: str = "") -> tf.data.Dataset:
    """The same batches in the memory of the GPU, where there is one, before they are asked for.

    To be applied last, in place of what would wait for the copy of each batch when it is needed.

    Args:
      device: by default the first GPU that the process sees.
    """
    device = device or ("/device:GPU:0" if tf.config.list_logical_devices("GPU") else "")
    if not device:
        return dataset
    return dataset.apply(tf.data.experimental.prefetch_to_device(device, _AHEAD))


def check_labels(labels: np.ndarray, source: ImageSource, split: str) -> None:
    """Refuses splits without labels, such as the `test` of ImageNet with its −1."""
    if labels.min() < 0 or labels.max() >= source.num_classes:
        raise UserError(
            f"The split {split!r} of dataset {source.name!r} has labels outside "
            f"0 to {source.num_classes - 1}, so it has no ground truth to compare with."
        )


def _check_batch_size(batch_size: int) -> None:
    require(batch_size > 0, f"The batch size must be at least 1, not {batch_size}.")
