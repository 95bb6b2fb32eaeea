"""The images that set ranges, gains and rounding, and which of them show the same picture."""

import dataclasses
import hashlib
from collections.abc import Iterator

import numpy as np

from nas_tf.data import batches as data_batches
from nas_tf.data.config import NO_AUGMENTATION, Augmentation
from nas_tf.data.sources import ImageSource
from quant.distillation import inputs_of
from quant.finetune_config import FinetuneConfig

_MAX_BATCH = 64
_LEAST_CROP = 0.35  # a view for calibration keeps at least this share of the image


@dataclasses.dataclass(frozen=True)
class CalibrationImages:
    """Network inputs, and where they come from.

    Attributes:
      batches: float32 [n,R,R,3] each.
      pictures: int64, one per input of all batches: equal for views of one image.
    """

    batches: list[np.ndarray]
    pictures: np.ndarray

    def spread(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(inputs, pictures) of at most `count` of them, evenly from first to last."""
        # Evenly and not the first ones: views stand behind all plain images.
        chosen = spread(np.arange(len(self.pictures)), count)
        return np.concatenate(self.batches)[chosen], self.pictures[chosen]


def read_images(
    source: ImageSource, config: FinetuneConfig, resolution: int, resize_size: int
) -> CalibrationImages:
    """Images as in evaluation; where they are too few, random views of them as well.

    Of both, a share is resized by other methods if the augmentation asks for it.

    Ranges and gains that hold for a few images clip others: with 450 views of 150 images the
    equalized float network was 46.0 dB from the original on other images, without them 38.6.
    """
    crop = max(config.augmentation.min_crop_area, _LEAST_CROP)
    augmentation = dataclasses.replace(config.augmentation, min_crop_area=crop)

    def read(how: Augmentation, count: int) -> Iterator[np.ndarray]:
        if not count:
            return
        dataset = data_batches.training_batches(
            source,
            config.data.train_split,
            min(count, _MAX_BATCH),
            resolution,
            how,
            config.seed,
            resize_size=resize_size,
        )
        batches = data_batches.readable(source, dataset)
        yield from (x.numpy() for x in inputs_of(batches, count))

    plain = min(config.calibration_images, source.part_size(config.data.train_split))
    views = config.calibration_images - plain
    whole = dataclasses.replace(NO_AUGMENTATION, resize_robustness=config.augmentation.resize_robustness)
    inputs = list(read(whole, plain))
    # The order of images depends on the seed alone, so the n-th view is of the n-th image; it is
    # known by what it looks like without augmentation, however often the split is gone through.
    keys = _digests(inputs if whole == NO_AUGMENTATION else read(NO_AUGMENTATION, plain))
    of_views = keys if views <= plain else _digests(read(NO_AUGMENTATION, views))
    return CalibrationImages([*inputs, *read(augmentation, views)], _numbered([*keys, *of_views[:views]]))


def spread(images: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the images, evenly from first to last."""
    if len(images) <= count:
        return images
    return images[np.linspace(0, len(images) - 1, count).astype(int)]


def _digests(batches) -> list[bytes]:
    # Digests and not the images' bytes, which would be held a second time.
    return [hashlib.sha256(image.tobytes()).digest() for batch in batches for image in batch]


def _numbered(keys: list[bytes]) -> np.ndarray:
    """Equal keys as equal numbers, in order of appearance."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
