"""Training images by several resizers: which one, and what stays as it was."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from nas_tf.data import augment, batches, preprocess, resizers, robust_views
from nas_tf.data.config import NO_AUGMENTATION, Augmentation
from nas_tf.data.opening import open_source
from nas_tf.data.resize_methods import METHODS

CROPS = Augmentation(0.3, True, 1.0)
WHOLE = Augmentation(1.0, True, 1.0)
SEED = 9


def key(count):
    return tf.constant([SEED, count], tf.int64)


def robust(augmentation, share=0.5):
    return dataclasses.replace(augmentation, resize_robustness=share)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.fixture(scope="module")
def drawn():
    """Count → method, for a share of a half."""
    names = tuple(METHODS)
    return [names[int(resizers.draw(key(count), 0.5))] for count in range(60)]


def plain_view(image, count, augmentation):
    """As training without other resizers makes it."""
    if augmentation.min_crop_area == 1:
        image = preprocess.evaluation_image(image, 16, 18)
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    return augment.view_image(image, 16, augment.sample_views(key(count), 1, size, augmentation)).numpy()


@pytest.mark.parametrize("augmentation", [CROPS, WHOLE])
def test_only_images_that_drew_another_resizer_change(image, drawn, augmentation):
    assert 15 < drawn.count("antialias") < 45
    view = tf.function(
        lambda count: robust_views.view_image(
            tf.constant(image), 16, 18, tf.stack([tf.constant(SEED, tf.int64), count]), robust(augmentation)
        )
    )
    for count, name in enumerate(drawn):
        found = view(tf.constant(count, tf.int64)).numpy()
        assert found.shape == (16, 16, 3) and found.dtype == np.uint8
        same = (found == plain_view(image, count, augmentation)).all()
        # Of a random crop, that the image was cut to a square before shows in nothing.
        assert same == (name == "antialias" or (name == "square" and augmentation is CROPS)), name


def test_a_whole_image_is_that_of_evaluation_by_its_method(image, drawn):
    flipped = 0
    for count, name in enumerate(drawn[:20]):
        found = robust_views.view_image(image, 16, 18, key(count), robust(Augmentation(1.0, True))).numpy()
        wanted = resizers.evaluation_image(image, 16, 18, name).numpy()
        flips = augment.sample_views(key(count), 1, tf.ones([2]), Augmentation(1.0, True)).flips.numpy()[0]
        flipped += flips
        assert (found == (wanted[:, ::-1] if flips else wanted)).all(), name
    assert 0 < flipped < 20


@pytest.fixture(scope="module", params=["in memory", "streamed"])
def source(request, tfds_dir):
    return (
        open_source("digits") if request.param == "in memory" else open_source("tiny_photos", str(tfds_dir))
    )


def take(source, augmentation, start, stop, first=0, resolution=8):
    stream = batches.training_batches(source, "train", 5, resolution, augmentation, SEED, start_step=first)
    return [(x.numpy(), y.numpy()) for x, y in itertools.islice(stream, start, stop)]


@pytest.mark.parametrize("augmentation", [CROPS, NO_AUGMENTATION])
def test_a_resumed_run_sees_the_same_images(source, augmentation):
    whole = take(source, robust(augmentation), 3, 6)
    for (a, b), (c, d) in zip(whole, take(source, robust(augmentation), 0, 3, first=3)):
        assert (a == c).all() and (b == d).all()


def test_labels_and_order_are_those_without_it(source):
    for (_, a), (_, b) in zip(take(source, robust(CROPS, 1.0), 0, 6), take(source, CROPS, 0, 6)):
        assert (a == b).all()


def test_off_every_image_is_what_it_was(tfds_dir):
    """Against the views drawn here, image by image, from the count in the stream."""
    source = open_source("tiny_photos", str(tfds_dir))
    examples = list(itertools.islice(source.endless("train", SEED).as_numpy_iterator(), 30))
    found = np.concatenate([images for images, _ in take(source, CROPS, 0, 6)])
    for count, (image, _) in enumerate(examples):
        size = tf.constant(image.shape[:2], tf.float32)
        views = augment.sample_views(key(count), 1, size, CROPS)
        assert (found[count] == augment.view_image(image, 8, views).numpy()).all()
