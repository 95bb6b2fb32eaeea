"""Which images a stage reads and how, as plain data. Imports no TensorFlow."""

import dataclasses
import pathlib
from typing import Any

SMALL_IMAGE = 64  # pixels; see `default_resize_size`
# Our networks read (pixel − 128) / 128; see `nas_tf.data.preprocess.to_network_input`.
PIXEL_MEAN, PIXEL_STD = 128.0, 128.0


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """A dataset and its two splits.

    Attributes:
      dataset: TFDS name, folder prepared by TFDS, folder of class folders, or `digits`.
      data_dir: where TFDS looks for prepared data; empty: its own default.
      train_split, eval_split: TFDS split syntax; an empty `eval_split` means `validation`
        if there is one, else `test`.
      resize_size: short side in pixels before the centre crop of evaluation; 0: the default.
      download: whether TFDS may fetch and prepare what is missing.
      max_bad_images: so many files that cannot be decoded are left out of a folder of images; more
        are refused.
      class_names: of `nas_tf.data.class_names.POLICIES`: how a model's classes find the dataset's.
    """

    dataset: str
    data_dir: str = ""
    train_split: str = "train"
    eval_split: str = ""
    resize_size: int = 0
    download: bool = False
    class_names: str = "match"
    max_bad_images: int = 0

    def identity(self) -> dict[str, Any]:
        """What decides which images are read; where they lie does not, and may change.

        Stages hold it as their setting `data`.
        """
        fields = dataclasses.asdict(self)
        del fields["data_dir"], fields["download"], fields["max_bad_images"]
        folder = pathlib.Path(self.dataset).expanduser()
        # The same folder by another path is the same dataset.
        return fields | ({"dataset": str(folder.resolve())} if folder.is_dir() else {})


# Of a stage's settings, those that runs of earlier versions do not hold: their defaults.
NEWER = {"data.class_names": DataConfig.class_names}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random changes of training images.

    Attributes:
      min_crop_area: smallest share of the image's area that a random crop may keep, in
        (0, 1]; 1: the centre crop of evaluation instead.
      flip: mirror left to right with probability 1/2.
      color_jitter: strength; 1: brightness factor within ±32/255, saturation within ±0.5,
        as the ProxylessNAS authors' ImageNet training; 0: none.
      resize_robustness: share of the images that are resized by another method than evaluation's, in
        [0, 1]; each of `nas_tf.data.resize_methods.OTHERS` is as likely as the next.
      reduced_decoding: whether random crops of JPEGs that are at least twice, four or eight times as
        large as the network's input are decoded at that fraction of their size.
    """

    min_crop_area: float = 0.08
    flip: bool = True
    color_jitter: float = 0.0
    resize_robustness: float = 0.0
    reduced_decoding: bool = False

    @property
    def changes(self) -> bool:
        """Whether anything is done to images but what evaluation does."""
        return self.min_crop_area < 1 or self.flip or self.color_jitter > 0


# As `NEWER`, of stages that learn.
NEWER_TRAINING = NEWER | {
    "augmentation.resize_robustness": Augmentation.resize_robustness,
    "augmentation.reduced_decoding": Augmentation.reduced_decoding,
}
NO_AUGMENTATION = Augmentation(min_crop_area=1.0, flip=False)


def default_resize_size(resolution: int, image_size: int | None) -> int:
    """Short side before the centre crop: the one rule, wherever the images come from.

    Photographs are resized to resolution · 256 / 224 and lose their border. Two kinds of images
    keep it: small ones (CIFAR, digits), which their object fills, and those whose short side is
    the resolution, which were made for it and are not resampled.

    It is a rule for datasets and not for single images: among photographs a small one is
    treated like the others.

    Args:
      resolution: side of the network's input.
      image_size: short side that all of the source's images have, or None.
    """
    kept = image_size is not None and (image_size <= SMALL_IMAGE or image_size == resolution)
    # 256 / 224: as the ProxylessNAS authors evaluate.
    return resolution if kept else round(resolution * 256 / 224)


@dataclasses.dataclass(frozen=True)
class Part:
    """Some images of a split: all of them, those at `positions`, or all the others.

    Attributes:
      split: TFDS split syntax.
      positions: 0-based places in the split's fixed reading order, ascending; None: all.
      complement: means the images that are not at `positions`.
    """

    split: str
    positions: tuple[int, ...] | None = None
    complement: bool = False

    def size(self, split_size: int) -> int:
        """How many images, of a split of `split_size`."""
        if self.positions is None:
            return split_size
        return split_size - len(self.positions) if self.complement else len(self.positions)


def as_part(part: "str | Part") -> Part:
    """A whole split given by name, as a `Part`."""
    return Part(part) if isinstance(part, str) else part
