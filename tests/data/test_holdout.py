"""The images of the architecture parameters."""

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.data.holdout import hold_out
from nas_tf.data.opening import open_source


@pytest.fixture(scope="module")
def digits():
    return open_source("digits")


@pytest.mark.parametrize("split", ["train", "train[200:]"])
@pytest.mark.parametrize("num_images", [10, 143, 300])
def test_parts_are_stratified_and_disjoint(digits, split, num_images):
    weights, architecture = hold_out(digits, split, num_images)
    images, labels = digits.columns(architecture)
    counts = np.bincount(labels, minlength=10)
    assert counts.sum() == num_images and counts.max() - counts.min() <= 1
    others, _ = digits.columns(weights)
    whole, _ = digits.columns(split)
    assert sorted(map(bytes, np.concatenate([images, others]))) == sorted(map(bytes, whole))


def test_the_same_images_every_time(digits):
    assert hold_out(digits, "train", 50) == hold_out(digits, "train", 50)


def test_only_the_beginning_of_a_stream_is_read(tfds_dir):
    """All of the held-out images come from the first ones of each class."""
    source = open_source("tiny_photos", str(tfds_dir))
    labels = list(source.labels_in_order("train"))
    _, held = hold_out(source, "train", 6)
    assert [labels[p] for p in held.positions].count(0) == 2
    for name in range(3):
        places = [p for p in held.positions if labels[p] == name]
        assert places == [i for i, label in enumerate(labels) if label == name][:2]


@pytest.mark.parametrize("num_images", [0, -5, 1437, 5000])
def test_impossible_numbers_are_refused(digits, num_images):
    with pytest.raises(UserError, match=f"Cannot hold out {num_images} of the 1437 images"):
        hold_out(digits, "train", num_images)


def test_classes_that_are_too_small_are_named(digits):
    with pytest.raises(UserError, match="too few images of .* to hold out 1400 in equal shares"):
        hold_out(digits, "train", 1400)


class _Sparse:
    """Ten classes, of which five have images."""

    num_classes, labels = 10, [f"class {i}" for i in range(10)]
    _own = (8, 1, 1, 3, 4, 7, 8)

    def part_size(self, split):
        return len(self._own)

    def labels_in_order(self, split):
        return iter(self._own)


def test_of_fewer_images_than_classes_those_that_are_there_give_one():
    """Equal shares would be of classes 3, 6 and 9, of which two have no image."""
    weights, held = hold_out(_Sparse(), "train", 3)
    # The second, fourth and fifth of classes 1, 3, 4, 7 and 8, the first image of each.
    assert held.positions == (0, 3, 5)
    assert weights.complement and weights.positions == held.positions
    with pytest.raises(UserError, match="too few images of class .* to hold out 6"):
        hold_out(_Sparse(), "train", 6)
