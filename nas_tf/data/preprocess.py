"""The one way from a stored image to the network's input, for every stage and evaluation."""

from collections.abc import Callable

import tensorflow as tf

from nas_tf.data.config import PIXEL_MEAN, PIXEL_STD
from nas_tf.data.resize import Window, resized


def to_network_input(images: tf.Tensor) -> tf.Tensor:
    """float32 (x − 128) / 128 of uint8 images.

    Its int8 form with scale 1/128 is exactly x − 128, so quantized networks get their
    input without any rounding.
    """
    return (tf.cast(images, tf.float32) - PIXEL_MEAN) / PIXEL_STD


def evaluation_image(
    image: tf.Tensor, resolution: int, resize_size: int, resize: Callable | None = None
) -> tf.Tensor:
    """Short side to `resize_size` (bilinear with antialiasing), then the centre crop.

    Args:
      image: uint8 [H, W, 3], or [N, H, W, 3].
      resolution: side of the crop, in pixels.
      resize_size: at least `resolution`.
      resize: another filter than the contract's, as `resized`; see `nas_tf.data.resizers`.

    Returns:
      uint8 [resolution, resolution, 3], or with N in front, rounded to nearest.
    """
    size = tf.cast(tf.shape(image)[-3:-1], tf.float32)
    # side = round(side · resize_size / shorter side)
    height_width = tf.cast(tf.round(size * (resize_size / tf.reduce_min(size))), tf.int32)
    begin = tf.unstack((height_width - resolution) // 2)
    if resize is None:
        return as_uint8(resized(image, height_width, Window(begin, (resolution, resolution))))
    top, left = begin
    image = resize(image, height_width)
    return as_uint8(image[..., top : top + resolution, left : left + resolution, :])


def as_uint8(image: tf.Tensor) -> tf.Tensor:
    """Rounded to nearest and clipped to 0–255."""
    # Clipped first: a cast to uint8 does not stop at 0 and 255, where brighter colours go beyond.
    return tf.cast(tf.round(tf.clip_by_value(image, 0.0, 255.0)), tf.uint8)
