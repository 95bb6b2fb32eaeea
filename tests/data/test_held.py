"""Images held in memory, and batches on a device: those of the source itself, bit for bit."""

import itertools

import numpy as np
import pytest
from PIL import Image

from nas_tf.base.errors import UserError
from nas_tf.data import batches
from nas_tf.data.config import NO_AUGMENTATION, Augmentation, Part
from nas_tf.data.held import HELD, held
from nas_tf.data.holdout import hold_out
from nas_tf.data.opening import open_source
from nas_tf.data.order import Rows

SIDE = 12


def _take(dataset, count=None):
    return [(image.numpy(), label.numpy()) for image, label in itertools.islice(dataset, count)]


def _require_equal(found, wanted):
    assert len(found) == len(wanted) > 0
    for (a, b), (c, d) in zip(found, wanted, strict=True):
        assert a.dtype == c.dtype and b.dtype == d.dtype
        assert np.array_equal(a, c) and np.array_equal(b, d)


@pytest.fixture(scope="module", params=["streamed", "files"])
def source(request, tfds_dir, tmp_path_factory):
    if request.param == "streamed":
        return open_source("tiny_photos", str(tfds_dir))
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for label in "abc":
        (root / label).mkdir()
        for index in range(7):
            pixels = rng.integers(0, 256, (20 + index, 31 - index, 3), np.uint8)
            Image.fromarray(pixels).save(root / label / f"{index}.jpg")
    return open_source(str(root))


@pytest.mark.parametrize("resize_size", [0, SIDE, 17])
def test_the_same_images_in_the_same_order(source, resize_size):
    """As evaluation reads them, and as architecture steps do, from a later step on too."""
    _, part = hold_out(source, "train", 8)
    memory = held(source, part, SIDE, resize_size)
    assert memory.part_size(Part(HELD)) == 8
    _require_equal(
        _take(batches.evaluation_batches(memory, Part(HELD), 3, SIDE, resize_size)),
        _take(batches.evaluation_batches(source, part, 3, SIDE, resize_size)),
    )
    for start, rows in ((0, None), (5, None), (5, Rows(2, 2, 4))):
        how = 4, SIDE, NO_AUGMENTATION, 9, start, resize_size, rows
        _require_equal(
            _take(batches.training_batches(memory, Part(HELD), *how), 7),
            _take(batches.training_batches(source, part, *how), 7),
        )


def test_what_does_not_fit_is_not_held(source):
    _, part = hold_out(source, "train", 8)
    size = 8 * SIDE * SIDE * 3
    assert held(source, part, SIDE, limit=size - 1) is None
    assert held(source, part, SIDE, limit=size) is not None


def test_what_lies_in_memory_is_not_held_again():
    source = open_source("digits")
    assert held(source, Part("train"), 8) is None


def test_a_broken_file_is_named(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for index in range(3):
            Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / label / f"{index}.jpg")
    source = open_source(str(tmp_path))
    (tmp_path / "b" / "1.jpg").write_bytes(b"\xff\xd8\xff no more")
    with pytest.raises(UserError, match=r"b/1\.jpg"):
        held(source, Part("train"), SIDE)


def test_batches_on_a_device_are_the_same(source):
    """The processor stands for a GPU."""
    dataset = batches.training_batches(source, "train", 5, SIDE, Augmentation(), 3)
    ahead = batches.on_device(dataset, "/device:CPU:0")
    assert ahead is not dataset
    _require_equal(_take(ahead, 6), _take(dataset, 6))
    whole = batches.evaluation_batches(source, "train", 4, SIDE)
    _require_equal(_take(batches.on_device(whole, "/device:CPU:0")), _take(whole))


def test_without_a_gpu_nothing_is_put_between(source):
    dataset = batches.evaluation_batches(source, "train", 4, SIDE)
    assert batches.on_device(dataset) is dataset
