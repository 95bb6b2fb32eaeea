"""Random views of training images, decided by a seed alone.

What is random (`sample_views`) is drawn for a whole batch; it is applied to a whole batch of
equally large images at once (`view_batch`) or to single images (`view_image`).
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from nas_tf.data.config import Augmentation
from nas_tf.data.decode import decode_reduced_window, decode_window
from nas_tf.data.preprocess import as_uint8
from nas_tf.data.resize import resized

# As torchvision's RandomResizedCrop, with which the published settings were found.
_LOG_ASPECT_RATIO = 0.28768207  # ln(4 / 3)
_TRIES = 10
# As the ProxylessNAS authors' ImageNet training.
_BRIGHTNESS = 32 / 255
_SATURATION = 0.5


class Views(NamedTuple):
    """What is seen of N images.

    Attributes:
      boxes: float32 [N, 4], top, left, height, width in pixels of the image.
      flips: bool [N], mirrored left to right.
      gains: float32 [N, 2], factors of brightness and of saturation; or None.
    """

    boxes: tf.Tensor
    flips: tf.Tensor
    gains: tf.Tensor | None


def sample_views(seed: tf.Tensor, count: int, height_width: tf.Tensor, augmentation: Augmentation) -> Views:
    """Draws `count` views of images of size `height_width` (float32 [2]); seed: int64 [2]."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    flips = tf.random.stateless_uniform([count], seeds[0]) < (0.5 if augmentation.flip else 0.0)
    gains, boxes = None, _centre_square(count, height_width)
    if augmentation.color_jitter:
        strength = augmentation.color_jitter * tf.constant([_BRIGHTNESS, _SATURATION])
        gains = 1 + strength * tf.random.stateless_uniform([count, 2], seeds[1], -1.0, 1.0)
    if augmentation.min_crop_area < 1:
        boxes = _random_boxes(seeds[2], count, height_width, augmentation.min_crop_area)
    return Views(boxes, flips, gains)


def view_image(
    image: tf.Tensor, resolution: int, views: Views, resize: Callable[..., tf.Tensor] = resized
) -> tf.Tensor:
    """The view of one image of any size, with antialiasing where it shrinks.

    Args:
      image: uint8 [H, W, 3].
      resolution: side of the result, in pixels.
      views: of one image; the box is rounded to whole pixels.
      resize: another filter, as `nas_tf.data.resize.resized`.

    Returns:
      uint8 [resolution, resolution, 3].
    """
    begin, extent = _whole_pixels(views, tf.shape(image)[:2])
    crop = tf.slice(image, tf.concat([begin, [0]], 0), tf.concat([extent, [3]], 0))
    return _view_of_crop(crop, resolution, views, resize)


def view_jpeg(content: tf.Tensor, size: tf.Tensor, resolution: int, views: Views, reduced: bool) -> tf.Tensor:
    """`view_image` of a JPEG of which no more is decoded than is seen.

    Args:
      content: the file.
      size: from `jpeg_size`.
      reduced: whether a box that is at least twice as large as the result is decoded at half its size, and
        so on; else the result is that of the decoded image to the bit.
    """
    begin, extent = _whole_pixels(views, size)
    if reduced:
        crop = decode_reduced_window(content, size, begin, extent, resolution)
    else:
        crop = decode_window(content, size, begin, extent)
    return _view_of_crop(crop, resolution, views)


def _whole_pixels(views: Views, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(begin, extent) of one view's box, int32 [2] each, within an image of a size."""
    begin = tf.cast(tf.round(views.boxes[0, :2]), tf.int32)
    # Corner and side are rounded apart, so together they could reach a pixel beyond the image, and a
    # thin box could come to nothing.
    return begin, tf.clip_by_value(tf.cast(tf.round(views.boxes[0, 2:]), tf.int32), 1, size - begin)


def _view_of_crop(
    crop: tf.Tensor, resolution: int, views: Views, resize: Callable[..., tf.Tensor] = resized
) -> tf.Tensor:
    view = resize(crop, tf.constant([resolution, resolution]))
    view = tf.where(views.flips[0], tf.reverse(view, [1]), view)
    return as_uint8(_recoloured(view[tf.newaxis], views.gains)[0])


def view_batch(images: tf.Tensor, resolution: int, views: Views) -> tf.Tensor:
    """The views of a batch by one bilinear sampling, without antialiasing.

    Args:
      images: uint8 [N, H, W, 3], no larger than about the resolution.
      resolution: side of the result, in pixels.
      views: of N images; boxes between pixels are sampled exactly.

    Returns:
      uint8 [N, resolution, resolution, 3].
    """
    top, left, height, width = tf.unstack(views.boxes, axis=1)
    scale_y, scale_x = height / resolution, width / resolution
    # Source of output pixel i: top + (i + ½)·scale − ½, and mirrored i → resolution − 1 − i.
    offset_y = top + 0.5 * scale_y - 0.5
    offset_x = left + 0.5 * scale_x - 0.5 + tf.where(views.flips, width - scale_x, 0.0)
    slope_x = tf.where(views.flips, -scale_x, scale_x)
    zero = tf.zeros_like(top)
    # Of a row [a0, a1, a2, b0, b1, b2, 0, 0], the operation reads output pixel (x, y) from the image
    # at (a0·x + a1·y + a2, b0·x + b1·y + b2).
    transforms = tf.stack([slope_x, zero, offset_x, zero, scale_y, offset_y, zero, zero], axis=1)
    sampled = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=transforms,
        output_shape=[resolution, resolution],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    return as_uint8(_recoloured(sampled, views.gains))


def _random_boxes(seed: tf.Tensor, count: int, height_width: tf.Tensor, min_area: float) -> tf.Tensor:
    """Boxes of random area and aspect ratio: the first of ten tries that fits in the image."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    area = tf.reduce_prod(height_width) * tf.random.stateless_uniform(
        [count, _TRIES], seeds[0], min_area, 1.0
    )
    # Uniform in the logarithm, as torchvision: 3:4 is as likely as 4:3.
    ratio = tf.exp(
        tf.random.stateless_uniform([count, _TRIES], seeds[1], -_LOG_ASPECT_RATIO, _LOG_ASPECT_RATIO)
    )
    # [N, tries, 2]: height = √(area / ratio), width = √(area · ratio)
    extents = tf.sqrt(tf.stack([area / ratio, area * ratio], axis=-1))
    fits = tf.reduce_all(extents <= height_width, axis=-1)
    # Of equal values argmax takes the first, here the first True.
    extent = tf.gather(extents, tf.argmax(fits, axis=1), axis=1, batch_dims=1)
    corner = (height_width - extent) * tf.random.stateless_uniform([count, 2], seeds[2])
    boxes = tf.concat([corner, extent], axis=1)
    return tf.where(tf.reduce_any(fits, axis=1, keepdims=True), boxes, _centre_square(count, height_width))


def _centre_square(count: int, height_width: tf.Tensor) -> tf.Tensor:
    side = tf.reduce_min(height_width)
    box = tf.concat([(height_width - side) / 2, [side, side]], axis=0)
    return tf.tile(box[tf.newaxis], [count, 1])


def _recoloured(images: tf.Tensor, gains: tf.Tensor | None) -> tf.Tensor:
    """brightness · (grey + saturation · (x − grey)), images [N, H, W, 3]."""
    if gains is None:
        return images
    brightness, saturation = tf.unstack(gains[:, tf.newaxis, tf.newaxis, tf.newaxis], axis=-1)
    grey = tf.image.rgb_to_grayscale(images)
    return brightness * (grey + saturation * (images - grey))
