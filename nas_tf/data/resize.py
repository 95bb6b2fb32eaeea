"""Bilinear resizing with antialiasing: TensorFlow's own result to the bit, in less than half the time.

`tf.image.resize` weighs rows first, over whole lines of the image, and then columns, pixel by pixel,
which takes most of the time. Here the columns are weighed as lines too, those of the transposed image, by
the same operation with the same weights in the same order.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf


class Window(NamedTuple):
    """Part of an image: pairs of whole numbers, or of int32 scalars, of pixels; height before width."""

    begin: Sequence
    size: Sequence


def resized(image: tf.Tensor, height_width: tf.Tensor, window: Window | None = None) -> tf.Tensor:
    """float32 [(N,) height, width, 3] of an image of any number type; values stay where the size fits.

    Args:
      image: [H, W, 3], or [N, H, W, 3].
      height_width: int32 [2].
      window: of the result; None: all of it. What lies outside is not computed where that is cheap.
    """
    window = window or Window((0, 0), tf.unstack(height_width))
    same = tf.reduce_all(tf.shape(image)[-3:-1] == height_width)
    return tf.cond(
        same,
        lambda: tf.cast(_cut(image, window), tf.float32),
        lambda: _both_axes(image, height_width, window),
    )


def _both_axes(image: tf.Tensor, height_width: tf.Tensor, window: Window) -> tf.Tensor:
    height, width = tf.unstack(height_width)
    tall = _rows(_with_height(image, height), *_axis(window, 0))
    return _turned(_rows(_with_height(_turned(tall), width), *_axis(window, 1)))


def _with_height(image: tf.Tensor, height: tf.Tensor) -> tf.Tensor:
    """float32 [(N,) height, W, C] of [(N,) H, W, C]: every column resized."""
    shape = tf.shape(image)
    lead, (old, width, channels) = shape[:-3], tf.unstack(shape[-3:])
    # A whole line is one pixel of many channels, which the operation weighs as one vector.
    lines = tf.reshape(image, tf.stack([-1, old, 1, width * channels]))
    # As `tf.image.resize` has it: float32 of the ratio, or weights would differ in their last place.
    scale = tf.cast(height, tf.float32) / tf.cast(old, tf.float32)
    lines = tf.raw_ops.ScaleAndTranslate(
        images=lines,
        size=tf.stack([height, 1]),
        scale=tf.stack([scale, 1.0]),
        translation=tf.zeros([2]),
        kernel_type="triangle",
        antialias=True,
    )
    return tf.reshape(lines, tf.concat([lead, [height, width, channels]], 0))


def _cut(image: tf.Tensor, window: Window) -> tf.Tensor:
    (top, left), (height, width) = window
    return image[..., top : top + height, left : left + width, :]


def _axis(window: Window, axis: int) -> tuple:
    return window.begin[axis], window.size[axis]


def _rows(image: tf.Tensor, begin: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    return image[..., begin : begin + count, :, :]


def _turned(image: tf.Tensor) -> tf.Tensor:
    """Rows and columns exchanged."""
    lead = list(range(image.shape.rank - 3))
    first = len(lead)
    return tf.transpose(image, [*lead, first + 1, first, first + 2])
