"""The same images give the same pixels, in memory, streamed, and from a folder."""

import numpy as np
import pytest
from PIL import Image

from nas_tf.data import batches, prepared
from nas_tf.data.config import NO_AUGMENTATION
from nas_tf.data.opening import open_source
from nas_tf.data.sources import ArraySource

COUNT = 12


def pictures(side):
    return np.random.default_rng(side).integers(0, 256, (COUNT, side, side, 3), np.uint8)


@pytest.fixture(scope="module", name="root", params=[32, 96], ids=lambda side: f"{side} pixels")
def _root(request, tmp_path_factory):
    """TFDS data `declared` and `undeclared`, and the folder `files`, all of the same images."""
    import tensorflow_datasets as tfds

    side, root = request.param, tmp_path_factory.mktemp("sizes")
    for name, shape in (("declared", (side, side, 3)), ("undeclared", (None, None, 3))):
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            data_dir=root,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=shape, encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=["a", "b"]),
                }
            ),
            split_datasets={
                "train": [(i, {"image": image, "label": i % 2}) for i, image in enumerate(pictures(side))]
            },
        )
    for i, image in enumerate(pictures(side)):
        path = root / "files" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root, side


@pytest.fixture(name="source", params=["declared", "undeclared", "files"])
def _source(request, root, monkeypatch):
    """The images as a stream."""
    monkeypatch.setattr(prepared, "IN_MEMORY_BYTES", 0)
    source = open_source(str(root[0] / request.param))
    assert not isinstance(source, ArraySource)
    return source


def pixels(dataset):
    return sorted(image.tobytes() for images, _ in dataset for image in images.numpy())


@pytest.mark.parametrize(
    "resolution", [16, pytest.param(32, marks=pytest.mark.slow), pytest.param(48, marks=pytest.mark.slow), 96]
)
def test_streamed_as_in_memory(root, source, resolution):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "IN_MEMORY_BYTES", 1 << 30)
        in_memory = open_source(str(root[0] / "declared"))
    assert isinstance(in_memory, ArraySource)
    wanted = pixels(batches.evaluation_batches(in_memory, "train", 5, resolution))
    assert pixels(batches.evaluation_batches(source, "train", 5, resolution)) == wanted
    for each in (in_memory, source):
        trained = batches.training_batches(each, "train", COUNT, resolution, NO_AUGMENTATION, 0)
        assert pixels(trained.take(1)) == wanted
    assert batches.image_size(source, resolution) == batches.image_size(in_memory, resolution)


def test_images_of_the_networks_size_are_the_files_pixels(root, source):
    side = root[1]
    assert batches.image_size(source, side).resize_size == side
    found = pixels(batches.evaluation_batches(source, "train", 5, side))
    assert found == sorted(image.tobytes() for image in pictures(side))


def test_larger_images_lose_their_border(root, source):
    wanted = 16 if root[1] <= 64 else 18  # round(16 * 256 / 224)
    assert batches.image_size(source, 16).resize_size == wanted
