"""From an encoded image to pixels."""

import tensorflow as tf


def decode_rgb(content: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, 3] of a JPEG, PNG or BMP; grey becomes RGB, opacity is dropped.

    JPEGs go through the accurate transform, as in Pillow and on phones: TensorFlow's default
    is a faster one that is off by more than one grey level on average.
    """
    image = tf.cond(
        tf.io.is_jpeg(content),
        lambda: tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(content, channels=3, expand_animations=False))
    return tf.ensure_shape(image, [None, None, 3])
