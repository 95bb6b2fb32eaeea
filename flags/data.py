"""Flags that say which images are read and how."""

from absl import flags

from nas_tf.data.config import Augmentation, DataConfig

DATASET = flags.DEFINE_string(
    "dataset", "digits",
    "TFDS name (imagenet2012, cifar10, imagenet_v2/matched-frequency), folder prepared by TFDS, "
    "folder of class folders (root/split/class/*.jpg or root/class/*.jpg), or digits "
    "(scikit-learn's, offline).")
DATA_DIR = flags.DEFINE_string(
    "data_dir", "", "Where TFDS finds prepared datasets; empty: ~/tensorflow_datasets.")
DOWNLOAD = flags.DEFINE_bool(
    "download", False, "Let TFDS fetch and prepare a dataset that is missing. Else no network "
    "is used.")
TRAIN_SPLIT = flags.DEFINE_string(
    "train_split", "train", "Images to learn from, in TFDS split syntax, such as train[:99%].")
EVAL_SPLIT = flags.DEFINE_string(
    "eval_split", "", "Images to evaluate on during a run, in TFDS split syntax; empty: "
    "validation if there is one, else test.")
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 256, "Images a training step.", lower_bound=1, upper_bound=65536)
RESIZE_SIZE = flags.DEFINE_integer(
    "resize_size", 0, "Short side in pixels before the centre crop of evaluation; 0: "
    "resolution * 256 / 224, and the resolution itself for images of up to 64 pixels.",
    lower_bound=0, upper_bound=8192)
MIN_CROP_AREA = flags.DEFINE_float(
    "min_crop_area", 0.08, "Smallest share of the image's area in a random training crop; "
    "1: no random crop.", lower_bound=0.01, upper_bound=1.0)
FLIP = flags.DEFINE_bool("flip", True, "Mirror half of the training images left to right.")
COLOR_JITTER = flags.DEFINE_float(
    "color_jitter", 0.0, "Strength of random brightness and saturation; 1: the published "
    "ImageNet setting (32/255 and 0.5), 0: none.", lower_bound=0.0, upper_bound=2.0)


def data_config() -> DataConfig:
    """The dataset, as plain data."""
    return DataConfig(DATASET.value, DATA_DIR.value, TRAIN_SPLIT.value, EVAL_SPLIT.value,
                      RESIZE_SIZE.value, DOWNLOAD.value)


def augmentation() -> Augmentation:
    """Random changes of training images, as plain data."""
    return Augmentation(MIN_CROP_AREA.value, FLIP.value, COLOR_JITTER.value)
