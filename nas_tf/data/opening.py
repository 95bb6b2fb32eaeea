"""Which reader a dataset's name asks for: the one place that knows all of them."""

import pathlib

from nas_tf.base.errors import require
from nas_tf.data import digits, folder, prepared
from nas_tf.data.config import DataConfig
from nas_tf.data.overview import say_once
from nas_tf.data.sources import ImageSource


def open_source(
    dataset: str, data_dir: str = "", download: bool = False, max_bad_images: int = 0
) -> ImageSource:
    """Opens a dataset for reading.

    Args:
      dataset: `digits`, a folder (prepared by TFDS, or of class folders), or a TFDS name.
      data_dir: where prepared TFDS data lies; empty: TFDS's default.
      download: whether TFDS may fetch and prepare what is missing; else no network is used.
      max_bad_images: of a folder of class folders, see `nas_tf.data.folder.open_folder`.

    Raises:
      UserError: no such dataset, or its data is missing or unusable.
    """
    require(bool(dataset), "--dataset is empty; give a TFDS name, a folder, or 'digits'.")
    # The bare name is always scikit-learn's; as a path (./digits) it is a folder.
    is_folder = dataset != "digits" and pathlib.Path(dataset).is_dir()
    if is_folder and not prepared.is_prepared(dataset):
        return folder.open_folder(dataset, max_bad_images)
    require(
        max_bad_images == 0,
        f"--max_bad_images={max_bad_images} is for folders of image files; the dataset {dataset!r} is none, "
        "so only 0 is allowed.",
    )
    if dataset == "digits":
        return digits.open_digits()
    if is_folder:
        return prepared.open_folder(dataset)
    # TFDS's names have slashes too (`imagenet_v2/matched-frequency`), but do not begin as paths do.
    require(
        "/" not in dataset.strip("./") or not dataset.startswith((".", "/", "~")),
        f"The dataset folder {dataset!r} does not exist.",
    )
    return prepared.open_name(dataset, data_dir, download)


def open_config(config: DataConfig) -> ImageSource:
    """Opens the dataset of a config, and says once what it holds."""
    source = open_source(config.dataset, config.data_dir, config.download, config.max_bad_images)
    say_once(source.overview())
    return source
