"""From an encoded image to pixels."""

import io

import numpy as np
import tensorflow as tf


def decode_rgb(content: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, 3] of a JPEG, PNG or BMP; grey becomes RGB, opacity is dropped.

    For datasets that TFDS prepared, whose pixels are those that every user of TFDS gets: a tag
    that says which way up a photograph is held (EXIF orientation) is not followed.

    JPEGs go through the accurate transform, as in Pillow and on phones: TensorFlow's default
    is a faster one that is off by more than one grey level on average.
    """
    image = tf.cond(
        tf.io.is_jpeg(content),
        lambda: _decode_jpeg(content),
        lambda: tf.io.decode_image(content, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(image, [None, None, 3])


def decode_photo(content: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, 3], upright, of an image file of a user's own: JPEG, PNG, BMP or WebP.

    To be called in a graph.

    JPEG and PNG through TensorFlow, to the same pixels as `decode_rgb`. The others through
    Pillow: TensorFlow refuses WebP with opacity, and shows the palette's numbers of a BMP with
    a palette as grey levels.

    Args:
      content: the file.
      orientation: int, EXIF's; 1 is upright.
    """

    def decode_other():
        # Outside of a graph, TensorFlow hands over an array in place of the bytes.
        return tf.numpy_function(_decode_by_pillow, [content], tf.uint8, stateful=False)

    is_png = tf.strings.substr(content, 0, 8) == b"\x89PNG\r\n\x1a\n"
    image = tf.cond(
        tf.io.is_jpeg(content),
        lambda: _decode_jpeg(content),
        lambda: tf.cond(is_png, lambda: tf.io.decode_png(content, channels=3), decode_other),
    )
    return upright(tf.ensure_shape(image, [None, None, 3]), orientation)


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """The image [H, W, C] turned and mirrored as EXIF's orientation (1 to 8) says."""
    # 5 to 8 lie on their side; then 2, 3, 6, 7 are mirrored left to right, 3, 4, 7, 8 upside down.
    # https://www.cipa.jp/std/documents/e/DC-008-2012_E.pdf, tag 274
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    image = tf.cond(_is_one_of(orientation, (2, 3, 6, 7)), lambda: image[:, ::-1], lambda: image)
    return tf.cond(_is_one_of(orientation, (3, 4, 7, 8)), lambda: image[::-1], lambda: image)


def _is_one_of(value: tf.Tensor, allowed: tuple[int, ...]) -> tf.Tensor:
    return tf.reduce_any(tf.equal(value, allowed))


def _decode_jpeg(content: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_by_pillow(content: bytes) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(str(error)) from error  # what TensorFlow calls an invalid argument
