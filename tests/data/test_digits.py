"""The offline dataset and TFDS split syntax on it."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from nas_tf.base.errors import UserError
from nas_tf.data.opening import open_source


@pytest.fixture(scope="module")
def digits():
    return open_source("digits")


def test_every_digit_is_in_exactly_one_split(digits):
    found = np.concatenate([digits.columns(split)[0] for split in ("train", "test")])
    grey = np.round(load_digits().images * 255 / 16)

    def rows(images):
        return sorted(map(bytes, images.reshape(len(images), -1).astype(np.uint8)))

    assert found.shape == (1797, 8, 8, 3) and found.dtype == np.uint8
    assert (found[..., 0] == found[..., 1]).all() and (found[..., 0] == found[..., 2]).all()
    assert rows(found[..., 0]) == rows(grey)


def test_labels_stay_with_their_images(digits):
    data = load_digits()
    known = {np.round(i * 255 / 16).astype(np.uint8).tobytes(): t for i, t in zip(data.images, data.target)}
    for image, label in digits.examples("test").take(50).as_numpy_iterator():
        assert known[image[..., 0].tobytes()] == label


@pytest.mark.parametrize(
    "split, size",
    [
        ("train", 1437),
        ("test", 360),
        ("train[:99%]", 1423),
        ("train[99%:]", 14),
        ("train[500:]", 937),
        ("train[-10:]", 10),
        ("train[:5]+test[:3]", 8),
        ("all", 1797),
    ],
)
def test_split_syntax(digits, split, size):
    assert digits.split_size(split) == size
    assert len(digits.columns(split)[1]) == size


def test_slices_follow_the_fixed_order(digits):
    whole, tail = digits.columns("train")[1], digits.columns("train[1000:]")[1]
    assert whole[1000:].tolist() == tail.tolist()


@pytest.mark.parametrize("split", ["bogus", "train[:x]", "train[:200%]", "train[99999:]", "all[:5]"])
def test_unknown_splits_are_refused(digits, split):
    with pytest.raises(UserError, match=r"has no split .*; it has test, train, to be sliced"):
        digits.split_size(split)


def test_an_empty_slice_is_refused(digits):
    with pytest.raises(UserError, match=r"'train\[:0%\]' of dataset 'digits' holds no images"):
        digits.part_size("train[:0%]")


def test_default_evaluation_split(digits):
    assert digits.evaluation_split() == "test"
    assert digits.evaluation_split("train[:10]") == "train[:10]"
