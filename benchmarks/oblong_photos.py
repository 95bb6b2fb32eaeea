"""Oblong photographs of a dataset of small square images, as a folder, to measure resizers on.

    python -m benchmarks.oblong_photos --dataset=cifar10 --data_dir=../shared/data/tfds --output=runs/oblong

The centre of each image, four by three, upright and lying in turn: `output/train` and `output/test`, with a
folder for each class, as PNG. Whole squares would not tell a squashed image from another.
"""

import pathlib

from absl import flags
from PIL import Image

from flags import data as data_flags
from flags import paths
from nas_tf.base import cli
from nas_tf.base.errors import require
from nas_tf.data.opening import open_config

_OUTPUT = paths.DEFINE_path("output", None, "Folder to write; must not exist.", required=True)
_TRAIN_IMAGES = flags.DEFINE_integer("train_images", 20000, "Of the training split.", lower_bound=1)


def main() -> None:
    """Writes both splits."""
    root = pathlib.Path(_OUTPUT.value)
    require(not root.exists(), f"--output={str(root)!r} exists.")
    config = data_flags.data_config()
    source = open_config(config)
    counts = {}
    for name, split, limit in (
        ("train", config.train_split, _TRAIN_IMAGES.value),
        ("test", source.evaluation_split(config.eval_split), None),
    ):
        for label in source.labels:
            (root / name / label).mkdir(parents=True)
        examples = source.examples(split).as_numpy_iterator()
        counts[name] = 0
        for image, label in examples:
            if counts[name] == limit:
                break
            path = root / name / source.labels[label] / f"{counts[name]:05}.png"
            Image.fromarray(_oblong(image, upright=counts[name] % 2 == 0)).save(path)
            counts[name] += 1
    cli.print_facts("Oblong photographs", counts | {"folder": str(root)})


def _oblong(image, upright: bool):
    """The centre, 4 × 3 or 3 × 4, of an image [side, side, 3]."""
    cut = image.shape[0] // 8
    return image[:, cut:-cut] if upright else image[cut:-cut]


if __name__ == "__main__":
    cli.run(main)
