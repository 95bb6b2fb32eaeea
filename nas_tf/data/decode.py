"""From an encoded image to pixels."""

import io

import numpy as np
import tensorflow as tf

_EXACT = "INTEGER_ACCURATE"


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


# What fancy upsampling of colours reads beyond a pixel: without it, those at the sides of a window would
# not be the whole image's.
_MARGIN = 2
_RATIOS = (1, 2, 4, 8)  # at which libjpeg decodes for less: it leaves out frequencies


def jpeg_size(content: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """int32 [2], height and width, of a JPEG of which `decode_window` gives a part; else zeros.

    Other files, photographs that lie on their side, and JPEGs of four inks have to be decoded whole.
    """

    def from_header():
        height, width, channels = tf.unstack(tf.io.extract_jpeg_shape(content))
        return tf.where((channels == 1) | (channels == 3), tf.stack([height, width]), [0, 0])

    readable = tf.io.is_jpeg(content) & (orientation == 1)
    return tf.cond(readable, from_header, lambda: tf.zeros([2], tf.int32))


def decode_window(content: tf.Tensor, size: tf.Tensor, begin: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
    """A part of a JPEG: to the bit what lies there in the whole image, for less.

    Args:
      content: the file.
      size: from `jpeg_size`.
      begin, extent: int32 [2], height before width: where in the image.

    Returns:
      uint8 [*extent, 3].
    """
    first = tf.maximum(begin - _MARGIN, 0)
    last = tf.minimum(begin + extent + _MARGIN, size)
    window = tf.concat([first, last - first], 0)
    image = tf.io.decode_and_crop_jpeg(content, window, channels=3, dct_method=_EXACT)
    return tf.slice(image, tf.concat([begin - first, [0]], 0), tf.concat([extent, [3]], 0))


def decode_reduced_window(
    content: tf.Tensor, size: tf.Tensor, begin: tf.Tensor, extent: tf.Tensor, least: int
) -> tf.Tensor:
    """`decode_window` at half, a quarter or an eighth of the size, where no side gets below `least` pixels.

    What lies at the window's sides is rounded to pixels of the smaller image, and its pixels are means by
    libjpeg's transform of fewer frequencies: nearly what the whole image gives after resizing.

    Returns:
      uint8 [about extent / ratio, 3].
    """

    def decoded(ratio: int):
        if ratio == 1:
            return decode_window(content, size, begin, extent)
        # libjpeg rounds up what does not divide.
        whole = (size + ratio - 1) // ratio
        first = tf.minimum(_divided(begin, ratio), whole - 1)
        window = tf.concat([first, tf.clip_by_value(_divided(extent, ratio), 1, whole - first)], 0)
        return tf.io.decode_and_crop_jpeg(content, window, channels=3, ratio=ratio, dct_method=_EXACT)

    fitting = tf.reduce_sum(tf.cast(tf.reduce_min(extent) >= [ratio * least for ratio in _RATIOS], tf.int32))
    branches = [lambda ratio=ratio: decoded(ratio) for ratio in _RATIOS]
    return tf.switch_case(tf.maximum(fitting - 1, 0), branches)


def _divided(numbers: tf.Tensor, ratio: int) -> tf.Tensor:
    """Rounded to nearest."""
    return (numbers + ratio // 2) // ratio


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
    return tf.io.decode_jpeg(content, channels=3, dct_method=_EXACT)


def _decode_by_pillow(content: bytes) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(str(error)) from error  # what TensorFlow calls an invalid argument
