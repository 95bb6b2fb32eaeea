"""Training images as several resizers make them, drawn like all else from a seed."""

import tensorflow as tf

from nas_tf.data import augment, resizers
from nas_tf.data.config import Augmentation
from nas_tf.data.resize_methods import METHODS, SQUASH


def view_image(
    image: tf.Tensor, resolution: int, resize_size: int, seed: tf.Tensor, augmentation: Augmentation
) -> tf.Tensor:
    """The view of one image by the resizer that is drawn for it.

    With random crops, only a method's filter matters, and whether it squashes: two of the methods are then
    one with evaluation's, or with another. Without, the image is prepared as in evaluation by that
    method, then flipped and coloured. All other draws are those of a training without other resizers.

    Args:
      image: uint8 [H, W, 3].
      resolution, resize_size: see `resizers.evaluation_image`.
      seed: int64 [2], of this image.
      augmentation: with the share of images that get another resizer.

    Returns:
      uint8 [resolution, resolution, 3].
    """
    drawn = resizers.draw(seed, augmentation.resize_robustness)
    if augmentation.min_crop_area < 1:
        return _random_crop(image, resolution, seed, augmentation, drawn)
    prepared = resizers.evaluation_image_by(drawn, image, resolution, resize_size)
    whole = tf.constant([resolution, resolution], tf.float32)
    return augment.view_image(prepared, resolution, augment.sample_views(seed, 1, whole, augmentation))


def _random_crop(
    image: tf.Tensor, resolution: int, seed: tf.Tensor, augmentation: Augmentation, drawn: tf.Tensor
) -> tf.Tensor:
    squashes = tf.gather([method.geometry == SQUASH for method in METHODS.values()], drawn)
    frame, scale = resizers.crop_frame(tf.cast(tf.shape(image)[:2], tf.float32), squashes)
    views = augment.sample_views(seed, 1, frame, augmentation)
    boxes = views.boxes * tf.tile(scale, [2])  # top and left, height and width
    return augment.view_image(
        image,
        resolution,
        views._replace(boxes=boxes),
        lambda crop, size: resizers.resized_by(drawn, crop, size),
    )
