"""Random views: their distribution, and what they make of an image."""

import numpy as np
import pytest
import tensorflow as tf

from nas_tf.data import augment
from nas_tf.data.config import NO_AUGMENTATION, Augmentation

SEED = tf.constant([3, 4], tf.int64)


def views(count, height, width, augmentation, seed=SEED):
    return augment.sample_views(seed, count, tf.constant([height, width], tf.float32), augmentation)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def fixed(box, flip=False, gains=None, count=1):
    return augment.Views(tf.constant([box] * count, tf.float32), tf.constant([flip] * count), gains)


@pytest.mark.parametrize("height, width", [(100, 100), (100, 300), (300, 100)])
def test_boxes_keep_area_ratio_and_bounds(height, width):
    boxes = views(2000, height, width, Augmentation(0.2)).boxes.numpy()
    top, left, tall, wide = boxes.T
    area = tall * wide / (height * width)
    # The fallback of the longest images is the central square.
    fallback = tall == wide
    assert ((area >= 0.2 - 1e-5) & (area <= 1 + 1e-5))[~fallback].all()
    assert ((wide / tall >= 0.7499) & (wide / tall <= 1.3334)).all()
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + tall <= height + 1e-3).all() and (left + wide <= width + 1e-3).all()


def test_crop_area_is_uniform():
    """Up to half of a square image any ratio fits, so no try is refused there."""
    boxes = views(4000, 100, 100, Augmentation(0.1)).boxes.numpy()
    area = boxes[:, 2] * boxes[:, 3] / 1e4
    low, high = np.mean((area > 0.1) & (area < 0.3)), np.mean((area > 0.3) & (area < 0.5))
    # Equal shares of about 0.23: the difference has deviation √(2 · 0.23 / 4000) = 0.011.
    assert abs(low - high) < 0.045


def test_flips_are_half():
    flips = views(4000, 8, 8, Augmentation(1.0, flip=True)).flips.numpy()
    assert abs(flips.mean() - 0.5) < 0.04  # five deviations
    assert not views(100, 8, 8, NO_AUGMENTATION).flips.numpy().any()


def test_gains_have_the_published_strength():
    gains = views(4000, 8, 8, Augmentation(color_jitter=1.0)).gains.numpy() - 1
    for column, bound in zip(gains.T, (32 / 255, 0.5)):
        assert np.abs(column).max() <= bound + 1e-6 and np.abs(column).max() > 0.95 * bound
        assert abs(column.mean()) < 0.05 * bound
    assert views(4, 8, 8, NO_AUGMENTATION).gains is None


def test_the_seed_decides_everything():
    strong = Augmentation(0.1, True, 1.0)
    first, again = views(9, 20, 30, strong), views(9, 20, 30, strong)
    other = views(9, 20, 30, strong, tf.constant([3, 5], tf.int64))
    for a, b, c in zip(first, again, other):
        assert (a.numpy() == b.numpy()).all() and (a.numpy() != c.numpy()).any()


def test_the_whole_box_is_the_image():
    images = noise(5, 8, 8, 3)
    whole = fixed([0, 0, 8, 8], count=5)
    assert (augment.view_batch(images, 8, whole).numpy() == images).all()
    assert (augment.view_image(images[0], 8, whole).numpy() == images[0]).all()


def test_flips_mirror():
    images = noise(2, 8, 8, 3)
    found = augment.view_batch(images, 8, fixed([0, 0, 8, 8], flip=True, count=2)).numpy()
    assert (found == images[:, :, ::-1]).all()
    assert (augment.view_image(images[0], 8, fixed([0, 0, 8, 8], True)).numpy() == images[0][:, ::-1]).all()


def test_boxes_cut():
    image = noise(12, 14, 3)
    found = augment.view_batch(image[np.newaxis], 8, fixed([3, 5, 8, 8], flip=True)).numpy()[0]
    assert (found == image[3:11, 5:13][:, ::-1]).all()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("box", [[0, 0, 16, 16], [2, 3, 9, 7], [5, 0, 4, 12]])
def test_both_ways_to_sample_agree(box, flip):
    """Enlarging, where antialiasing does nothing; inner pixels, because a crop has no
    neighbours beyond its edge and a box in a batch has."""
    image = noise(16, 16, 3)
    view = fixed(box, flip)
    single = augment.view_image(image, 32, view).numpy().astype(int)
    batch = augment.view_batch(image[np.newaxis], 32, view).numpy()[0].astype(int)
    assert np.abs(single - batch)[6:-6, 6:-6].max() <= 1


def test_colours_follow_the_formula():
    pixel = np.array([[[[200, 100, 50]]]], np.uint8)
    grey = 0.2989 * 200 + 0.587 * 100 + 0.114 * 50
    view = fixed([0, 0, 1, 1], gains=tf.constant([[0.9, 0.5]]))
    found = augment.view_batch(pixel, 1, view).numpy().reshape(3)
    wanted = [0.9 * (grey + 0.5 * (channel - grey)) for channel in (200, 100, 50)]
    assert np.abs(found - np.array(wanted)).max() <= 0.51


def test_colours_are_clipped():
    view = fixed([0, 0, 1, 1], gains=tf.constant([[1.1, 1.5]]))
    found = augment.view_image(np.array([[[255, 0, 0]]], np.uint8), 1, view).numpy().reshape(3)
    assert found.tolist() == [255, 0, 0]
