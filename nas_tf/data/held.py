"""Images that are read again and again as evaluation sees them: decoded once, where memory holds them."""

from typing import TextIO

import numpy as np
import tensorflow as tf

from nas_tf.base.progress import Progress
from nas_tf.data import batches
from nas_tf.data.config import Part
from nas_tf.data.sources import ArraySource, ImageSource

HELD_BYTES = 1 << 30  # 7,133 images of 224 pixels; twice as much while they are decoded
HELD = "held"  # their split's name
_BATCH = 64


class HeldSource(ArraySource):
    """The images of one part of another source, cropped as for evaluation.

    Args:
      source: where they come from.
      images: uint8 [N, R, R, 3]; labels: int64 [N].
    """

    def __init__(self, source: ImageSource, images: np.ndarray, labels: np.ndarray):
        side = images.shape[1]
        # As tensors, since each reader would make its own of arrays, as large again.
        with tf.device("/device:CPU:0"):
            tensors = tf.constant(images), tf.constant(labels)
        super().__init__(source.name, source.labels, side, {HELD: len(images)}, lambda _: tensors)
        self.named, self.cropped_to = source.named, side


def held(
    source: ImageSource,
    part: Part,
    resolution: int,
    resize_size: int = 0,
    limit: int = HELD_BYTES,
    stream: TextIO | None = None,
) -> HeldSource | None:
    """A source whose split `HELD` has the same images in the same order, to the bit, in memory.

    Args:
      source, part, resolution, resize_size: as of `evaluation_batches`.
      limit: in bytes of what is held.
      stream: where progress is shown; default standard error.

    Returns:
      None where there is nothing to gain, as of a source that lies in memory; or where it takes more than
      `limit` bytes.

    Raises:
      UserError: an image cannot be read.
    """
    number = source.part_size(part)
    if isinstance(source, ArraySource) or number * resolution * resolution * 3 > limit:
        return None
    images = np.empty((number, resolution, resolution, 3), np.uint8)
    labels = np.empty(number, np.int64)
    dataset = batches.evaluation_batches(source, part, _BATCH, resolution, resize_size)
    done = 0
    with Progress("images to hold in memory", number, stream=stream) as progress:
        for some, their in batches.readable(source, dataset):
            stop = done + len(their)
            images[done:stop], labels[done:stop] = some.numpy(), their.numpy()
            progress.update(done := stop)
    return HeldSource(source, images, labels)
