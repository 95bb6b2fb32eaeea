"""Flags of random changes of training images."""

from absl import flags

from nas_tf.data.config import Augmentation

MIN_CROP_AREA = flags.DEFINE_float(
    "min_crop_area",
    Augmentation.min_crop_area,
    "Smallest share of the image's area in a random training crop; 1: no random crop.",
    lower_bound=0.01,
    upper_bound=1.0,
)
FLIP = flags.DEFINE_bool("flip", Augmentation.flip, "Mirror half of the training images left to right.")
COLOR_JITTER = flags.DEFINE_float(
    "color_jitter",
    Augmentation.color_jitter,
    "Strength of random brightness and saturation; 1: the published "
    "ImageNet setting (32/255 and 0.5), 0: none.",
    lower_bound=0.0,
    upper_bound=2.0,
)
RESIZE_ROBUSTNESS = flags.DEFINE_float(
    "resize_robustness",
    Augmentation.resize_robustness,
    "Share of the training and calibration images that are resized as other apps do it (without "
    "antialiasing, squashed to the square, ...), so that a phone's resize costs less; 0: all as in "
    "evaluation. Half of them is a good first try.",
    lower_bound=0.0,
    upper_bound=1.0,
)
REDUCED_DECODING = flags.DEFINE_bool(
    "reduced_decoding",
    Augmentation.reduced_decoding,
    "Decode a JPEG at a half, a quarter or an eighth of its size for training crops that are at least so "
    "many times as large as the network's input: faster for large photographs, and nearly the same pixels. "
    "Evaluation is never changed.",
)


def augmentation() -> Augmentation:
    """Random changes of training images, as plain data."""
    return Augmentation(
        MIN_CROP_AREA.value,
        FLIP.value,
        COLOR_JITTER.value,
        RESIZE_ROBUSTNESS.value,
        REDUCED_DECODING.value,
    )
