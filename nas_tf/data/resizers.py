"""Other resizers than the contract's: those that apps use, for evaluation and for training."""

import tensorflow as tf

from nas_tf.data import preprocess
from nas_tf.data.resize import resized as contract_resized
from nas_tf.data.resize_methods import (
    ANTIALIASED,
    AREA,
    BILINEAR,
    CONTRACT,
    METHODS,
    NEAREST,
    OTHERS,
    SQUARE,
    SQUASH,
    find,
)

# Sets its draws apart from those of crops, flips and colours, which have the same seed.
_OWN_DRAWS = 20190717
_FILTERS = {
    BILINEAR: (tf.image.ResizeMethod.BILINEAR, False),
    ANTIALIASED: (tf.image.ResizeMethod.BILINEAR, True),
    NEAREST: (tf.image.ResizeMethod.NEAREST_NEIGHBOR, False),
    AREA: (tf.image.ResizeMethod.AREA, False),
}


def evaluation_image(
    image: tf.Tensor, resolution: int, resize_size: int, method: str = CONTRACT
) -> tf.Tensor:
    """The image as an app with this resizer feeds it; by the contract's, `preprocess.evaluation_image`.

    Args:
      image: uint8 [H, W, 3], or [N, H, W, 3].
      resolution: side of the result, in pixels.
      resize_size: short side before the centre crop; other geometries have none.
      method: of `resize_methods.METHODS`.

    Returns:
      uint8 [resolution, resolution, 3], or with N in front.
    """
    if method == CONTRACT:
        return preprocess.evaluation_image(image, resolution, resize_size)
    how = find(method)
    if how.geometry in (SQUARE, SQUASH):
        if how.geometry == SQUARE:
            image = _centre_square(image)
        return preprocess.as_uint8(resized(image, tf.constant([resolution, resolution]), how.filter))
    return preprocess.evaluation_image(
        image, resolution, resize_size, lambda source, size: resized(source, size, how.filter)
    )


def resized(image: tf.Tensor, height_width: tf.Tensor, filter_name: str) -> tf.Tensor:
    """float32 [(N,) height, width, 3]; unchanged values where the size already fits."""
    if filter_name == ANTIALIASED:
        return contract_resized(image, height_width)
    method, antialias = _FILTERS[filter_name]
    # An image that fits stays as it is by any of them: every weight is 0 or 1.
    return tf.cast(tf.image.resize(image, height_width, method, antialias=antialias), tf.float32)


def draw(seed: tf.Tensor, share: float) -> tf.Tensor:
    """int32 []: which of `METHODS` an image gets; 0, the contract's, for all but a `share` of the seeds.

    Args:
      seed: int64 [2], of which all other draws of the image are made too.
      share: in [0, 1].
    """
    own = tf.random.experimental.stateless_fold_in(seed, _OWN_DRAWS)
    changed, which = tf.unstack(tf.random.experimental.stateless_split(own, 2))
    other = 1 + tf.random.stateless_uniform([], which, 0, len(OTHERS), tf.int32)
    return tf.where(tf.random.stateless_uniform([], changed) < share, other, 0)


def evaluation_image_by(drawn: tf.Tensor, image: tf.Tensor, resolution: int, resize_size: int) -> tf.Tensor:
    """`evaluation_image` by the method at the place `drawn` of `METHODS`."""
    return tf.switch_case(
        drawn, [lambda name=name: evaluation_image(image, resolution, resize_size, name) for name in METHODS]
    )


def resized_by(drawn: tf.Tensor, image: tf.Tensor, height_width: tf.Tensor) -> tf.Tensor:
    """`resized` by the filter of the method at the place `drawn` of `METHODS`."""
    names = tuple(_FILTERS)
    which = tf.gather([names.index(method.filter) for method in METHODS.values()], drawn)
    return tf.switch_case(which, [lambda name=name: resized(image, height_width, name) for name in names])


def crop_frame(height_width: tf.Tensor, squashes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(size that a random crop is drawn in, pixels of the image for one of its pixels), float32 [2] each.

    Of a squashed image the crop is drawn in the square that it becomes, so that its shapes are those of
    other crops, seen in a squashed image.

    Args:
      height_width: of the image, float32 [2].
      squashes: bool [].
    """
    # A square of as many pixels: a share of its area is that share of the image's.
    square = tf.sqrt(tf.reduce_prod(height_width)) * tf.ones([2])
    frame = tf.where(squashes, square, height_width)
    return frame, height_width / frame


def _centre_square(image: tf.Tensor) -> tf.Tensor:
    size = tf.shape(image)[-3:-1]
    side = tf.reduce_min(size)
    top, left = tf.unstack((size - side) // 2)
    return image[..., top : top + side, left : left + side, :]
