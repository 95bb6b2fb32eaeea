"""Small datasets on disk, made once."""

import numpy as np
import pytest
from PIL import Image

NUM_TRAIN, NUM_TEST = 23, 7


def write_image(path, height=12, width=16, level=0, image_format=None):
    """A picture with one grey level, so that it can be told apart after decoding."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), level, np.uint8)).save(path, image_format)
    return path


@pytest.fixture
def image_folder(tmp_path):
    """root/class/*.png: ten cats (levels 0–9) and ten dogs (levels 100–109)."""
    root = tmp_path / "pets"
    for index in range(10):
        write_image(root / "cat" / f"{index}.png", level=index)
        write_image(root / "dog" / f"{index}.png", level=100 + index)
    return root


@pytest.fixture(scope="session")
def tfds_dir(tmp_path_factory):
    """A folder in which TFDS prepared `tiny_photos` (sizes differ), `tiny_shards` (the same in five
    files) and `tiny_icons` (grey 8×8).

    The image at place i of the generator has grey level i, and label i % 3.
    """
    import tensorflow_datasets as tfds

    root = tmp_path_factory.mktemp("tfds")
    labels = tfds.features.ClassLabel(names=["red", "green", "blue"])

    def photos(first, count):
        return [
            (i, {"image": np.full((10 + i % 4, 14, 3), i, np.uint8), "label": i % 3})
            for i in range(first, first + count)
        ]

    def icons(count, feature="image"):
        return [(i, {feature: np.full((8, 8, 1), i, np.uint8), "label": i % 3}) for i in range(count)]

    def store(name, shape, splits, feature="image", shards=1):
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            data_dir=root,
            disable_shuffling=False,
            features=tfds.features.FeaturesDict(
                {feature: tfds.features.Image(shape=shape, encoding_format="png"), "label": labels}
            ),
            split_datasets=splits,
            download_config=tfds.download.DownloadConfig(num_shards=shards),
        )

    store("tiny_photos", (None, None, 3), {"train": photos(0, NUM_TRAIN), "test": photos(100, NUM_TEST)})
    store("tiny_shards", (None, None, 3), {"train": photos(0, NUM_TRAIN)}, shards=5)
    store("tiny_icons", (8, 8, 1), {"train": icons(NUM_TRAIN), "validation": icons(NUM_TEST)})
    store("tiny_pictures", (8, 8, 1), {"train": icons(4, "picture")}, "picture")
    return root
