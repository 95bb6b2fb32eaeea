"""Flags that say which images are read."""

from absl import flags

from flags import paths
from nas_tf.data.class_names import POLICIES
from nas_tf.data.config import DataConfig

DATASET = paths.DEFINE_path(
    "dataset",
    "digits",
    "TFDS name (imagenet2012, cifar10, imagenet_v2/matched-frequency), folder prepared by TFDS, "
    "folder of class folders (root/split/class/*.jpg or root/class/*.jpg), or digits "
    "(scikit-learn's, offline).",
)
DATA_DIR = paths.DEFINE_path(
    "data_dir", DataConfig.data_dir, "Where TFDS finds prepared datasets; empty: ~/tensorflow_datasets."
)
DOWNLOAD = flags.DEFINE_bool(
    "download",
    DataConfig.download,
    "Let TFDS fetch and prepare a dataset that is missing. Else no network is used.",
)
TRAIN_SPLIT = flags.DEFINE_string(
    "train_split", DataConfig.train_split, "Images to learn from, in TFDS split syntax, such as train[:99%]."
)
EVAL_SPLIT = flags.DEFINE_string(
    "eval_split",
    DataConfig.eval_split,
    "Images to evaluate on during a run, in TFDS split syntax; empty: validation if there is one, else test.",
)
RESIZE_SIZE = flags.DEFINE_integer(
    "resize_size",
    DataConfig.resize_size,
    "Short side in pixels before the centre crop of evaluation; 0: "
    "resolution * 256 / 224, and the resolution itself for images of up to 64 pixels or of exactly "
    "the resolution.",
    lower_bound=0,
    upper_bound=8192,
)
CLASS_NAMES = flags.DEFINE_enum(
    "class_names",
    DataConfig.class_names,
    POLICIES,
    "How the classes of a model that already exists find those "
    "of the dataset: by their names, whatever their order; or ignore: by their position, with "
    "names left unread.",
)
MAX_BAD_IMAGES = flags.DEFINE_integer(
    "max_bad_images",
    DataConfig.max_bad_images,
    "Leave out up to so many files of a folder of images that cannot be decoded, and name them; more are "
    "refused. Above 0, all files are decoded first, however many there are.",
    lower_bound=0,
)


def data_config() -> DataConfig:
    """The dataset, as plain data."""
    return DataConfig(
        dataset=DATASET.value,
        data_dir=DATA_DIR.value,
        train_split=TRAIN_SPLIT.value,
        eval_split=EVAL_SPLIT.value,
        resize_size=RESIZE_SIZE.value,
        download=DOWNLOAD.value,
        class_names=CLASS_NAMES.value,
        max_bad_images=MAX_BAD_IMAGES.value,
    )
