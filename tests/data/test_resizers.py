"""Other resizers, held against Pillow and against sums written out here."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from nas_tf.base.errors import UserError
from nas_tf.data import augment, preprocess, resizers
from nas_tf.data.config import Augmentation
from nas_tf.data.resize_methods import CONTRACT, METHODS, OTHERS, in_words

SIDE, SHORT = 16, 18


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def found(image, method):
    return resizers.evaluation_image(image, SIDE, SHORT, method).numpy().astype(int)


def by_pillow(image, width, height, resample):
    return np.asarray(Image.fromarray(image).resize((width, height), resample)).astype(int)


def short_side(image):
    height, width = image.shape[:2]
    return round(width * SHORT / min(height, width)), round(height * SHORT / min(height, width))


def centre(image, side):
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def two_taps(length, size):
    """Weights [size, length] of linear interpolation between the two nearest pixels' centres."""
    places = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    return np.maximum(0, 1 - np.abs(places[:, np.newaxis] - np.arange(length)))


def overlaps(length, size):
    """Weights [size, length]: how much of each output pixel an input pixel covers."""
    edges = np.arange(size + 1) * length / size
    low, high = edges[:-1, np.newaxis], edges[1:, np.newaxis]
    shared = np.minimum(high, np.arange(length) + 1) - np.maximum(low, np.arange(length))
    return np.maximum(0, shared) / (length / size)


def separable(image, width, height, weights):
    rows, columns = weights(image.shape[0], height), weights(image.shape[1], width)
    return np.einsum("ia,jb,abc->ijc", rows, columns, image.astype(float))


# Odd sides have no ties: no centre of an output pixel falls on the border of two pixels.
SHAPES = [(41, 61), (63, 45), (25, 25)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_contract_is_the_preprocessing_of_every_stage(shape):
    image = noise(*shape)
    assert (found(image, CONTRACT) == preprocess.evaluation_image(image, SIDE, SHORT).numpy()).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_nearest_is_pillows(shape):
    image = noise(*shape)
    nearest = Image.Resampling.NEAREST
    assert (found(image, "nearest") == centre(by_pillow(image, *short_side(image), nearest), SIDE)).all()
    square = centre(image, min(shape))
    assert (found(image, "square_nearest") == by_pillow(square, SIDE, SIDE, nearest)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_antialiased_ones_are_pillows(shape):
    image = noise(*shape)
    bilinear = Image.Resampling.BILINEAR
    assert np.abs(found(image, "squash") - by_pillow(image, SIDE, SIDE, bilinear)).max() <= 1
    square = centre(image, min(shape))
    assert np.abs(found(image, "square") - by_pillow(square, SIDE, SIDE, bilinear)).max() <= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_without_antialiasing_two_pixels_an_axis_count(shape):
    image = noise(*shape)
    whole = centre(separable(image, *short_side(image), two_taps), SIDE)
    assert np.abs(found(image, "bilinear") - whole).max() <= 0.51
    assert np.abs(found(image, "squash_bilinear") - separable(image, SIDE, SIDE, two_taps)).max() <= 0.51
    square = separable(centre(image, min(shape)), SIDE, SIDE, two_taps)
    assert np.abs(found(image, "square_bilinear") - square).max() <= 0.51


@pytest.mark.parametrize("shape", SHAPES)
def test_areas_are_means(shape):
    image = noise(*shape)
    whole = centre(separable(image, *short_side(image), overlaps), SIDE)
    assert np.abs(found(image, "area") - whole).max() <= 0.51


@pytest.mark.parametrize("method", METHODS)
def test_an_image_that_fits_stays_as_it_is(method):
    image = noise(SIDE, SIDE)
    assert (resizers.evaluation_image(image, SIDE, SIDE, method).numpy() == image).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_as_its_images(method):
    images = np.stack([noise(24, 36, seed) for seed in range(3)])
    batch = resizers.evaluation_image(images, SIDE, SHORT, method).numpy().astype(int)
    for image, one in zip(images, batch):
        assert (found(image, method) == one).all()


def test_an_unknown_method_is_refused():
    with pytest.raises(UserError, match="--resize_method has 'cubic'; allowed: antialias, area"):
        resizers.evaluation_image(noise(4, 4), 4, 4, "cubic")


def test_words_hold_the_sizes_that_the_method_has():
    assert "short side to 201 pixels, bilinear, antialiased" in in_words(CONTRACT, 176, 201)
    for method in ("square_nearest", "squash_bilinear"):
        assert "201" not in in_words(method, 176, 201) and "176 × 176" in in_words(method, 176, 201)
    assert len({in_words(method, 176, 201) for method in METHODS}) == len(METHODS)


def drawn(count, share, first=0):
    one = tf.function(lambda seed: resizers.draw(seed, share))
    keys = np.stack([np.full(count, 5), np.arange(first, first + count)], axis=1)
    return tf.map_fn(one, tf.constant(keys, tf.int64), fn_output_signature=tf.int32).numpy()


def test_a_share_of_the_images_gets_another_resizer_each_as_likely():
    count = 4000
    assert not drawn(100, 0.0).any()
    places = drawn(count, 0.5)
    # Five deviations of a share of a half, and of a share of 1 in 8 of these.
    assert abs(np.mean(places > 0) - 0.5) < 5 * np.sqrt(0.25 / count)
    counts = np.bincount(places, minlength=len(METHODS))[1:]
    assert len(counts) == len(OTHERS)
    share = 1 / len(OTHERS)
    bound = 5 * np.sqrt(share * (1 - share) * counts.sum())
    assert np.abs(counts - counts.sum() * share).max() < bound
    assert (drawn(200, 1.0) > 0).all()


def test_draws_are_those_of_the_seed():
    assert (drawn(50, 0.7) == drawn(50, 0.7)).all()
    assert (drawn(50, 0.7)[20:] == drawn(30, 0.7, first=20)).all()


def test_a_crop_of_a_squashed_image_has_the_shapes_of_crops_once_squashed():
    height_width = tf.constant([60.0, 150.0])
    frame, scale = resizers.crop_frame(height_width, tf.constant(True))
    views = augment.sample_views(tf.constant([1, 2], tf.int64), 2000, frame, Augmentation(0.2))
    boxes = views.boxes.numpy() * np.tile(scale.numpy(), 2)
    top, left, tall, wide = boxes.T
    assert (np.minimum(top, left) >= -1e-3).all()
    assert (top + tall <= 60.01).all() and (left + wide <= 150.01).all()
    area = tall * wide / (60 * 150)
    assert area.min() >= 0.2 - 1e-4 and area.max() <= 1.0001
    # In the square that the image becomes, a side is its share of the image's.
    ratio = (wide / 150) / (tall / 60)
    assert ratio.min() >= 0.7499 and ratio.max() <= 1.3334
    frame, scale = resizers.crop_frame(height_width, tf.constant(False))
    assert frame.numpy().tolist() == [60, 150] and scale.numpy().tolist() == [1, 1]
