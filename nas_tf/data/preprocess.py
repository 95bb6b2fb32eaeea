"""The one way from a stored image to the network's input, for every stage and evaluation."""

import tensorflow as tf

from nas_tf.data.config import Augmentation

# torchvision's RandomResizedCrop, which the published settings were found with.
_ASPECT_RATIOS = (3 / 4, 4 / 3)
_BRIGHTNESS = 32 / 255
_SATURATION = 0.5


def to_network_input(images: tf.Tensor) -> tf.Tensor:
    """float32 (x − 128) / 128 of uint8 images.

    Its int8 form with scale 1/128 is exactly x − 128, so quantized networks get their
    input without any rounding.
    """
    return (tf.cast(images, tf.float32) - 128.0) / 128.0


def evaluation_image(image: tf.Tensor, resolution: int, resize_size: int) -> tf.Tensor:
    """Short side to `resize_size` (bilinear with antialiasing), then the centre crop.

    Args:
      image: uint8 [H, W, 3].
      resolution: side of the crop, in pixels.
      resize_size: at least `resolution`.

    Returns:
      uint8 [resolution, resolution, 3], rounded to nearest.
    """
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    # side = round(side · resize_size / shorter side)
    height_width = tf.cast(tf.round(size * (resize_size / tf.reduce_min(size))), tf.int32)
    image = _resized(image, height_width)
    top_left = (height_width - resolution) // 2
    image = tf.slice(image, [top_left[0], top_left[1], 0], [resolution, resolution, 3])
    return _as_uint8(image)


def training_image(image: tf.Tensor, resolution: int, resize_size: int,
                   augmentation: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """A randomly cropped, flipped and coloured view of the image.

    Args:
      image: uint8 [H, W, 3].
      resolution: side of the result, in pixels.
      resize_size: used where no random crop is asked for.
      augmentation: what may change.
      seed: int64 [2]; decides everything.

    Returns:
      uint8 [resolution, resolution, 3].
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    if augmentation.min_crop_area < 1:
        image = _random_crop(image, resolution, augmentation.min_crop_area, seeds[0])
    else:
        image = tf.cast(evaluation_image(image, resolution, resize_size), tf.float32)
    if augmentation.flip:
        image = tf.image.stateless_random_flip_left_right(image, seeds[1])
    if augmentation.color_jitter:
        image = _jittered(image, augmentation.color_jitter, seeds[2])
    return _as_uint8(image)


def _random_crop(image: tf.Tensor, resolution: int, min_area: float, seed: tf.Tensor) -> tf.Tensor:
    """A box of random area and aspect ratio, resized to the resolution; float32."""
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image), tf.zeros([0, 0, 4]), seed, min_object_covered=0.0,
        aspect_ratio_range=_ASPECT_RATIOS, area_range=(min_area, 1.0), max_attempts=10,
        use_image_if_no_bounding_boxes=True)
    crop = tf.slice(image, begin, size)
    return _resized(crop, tf.constant([resolution, resolution]))


def _jittered(image: tf.Tensor, strength: float, seed: tf.Tensor) -> tf.Tensor:
    """b · (grey + s · (x − grey)) with random brightness b and saturation s."""
    draws = tf.random.stateless_uniform([2], seed, -strength, strength)
    brightness, saturation = 1 + _BRIGHTNESS * draws[0], 1 + _SATURATION * draws[1]
    grey = tf.image.rgb_to_grayscale(image)
    return brightness * (grey + saturation * (image - grey))


def _resized(image: tf.Tensor, height_width: tf.Tensor) -> tf.Tensor:
    """float32 [height, width, 3]; unchanged values where the size already fits."""
    same = tf.reduce_all(tf.shape(image)[:2] == height_width)
    return tf.cond(
        same, lambda: tf.cast(image, tf.float32),
        lambda: tf.image.resize(image, height_width, tf.image.ResizeMethod.BILINEAR,
                                antialias=True))


def _as_uint8(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round(tf.clip_by_value(image, 0.0, 255.0)), tf.uint8)
