"""Resizing, against `tf.image.resize` bit for bit; Pillow judges it in test_preprocess.py."""

import numpy as np
import pytest
import tensorflow as tf

from nas_tf.data.resize import Window, resized


def _noise(*shape):
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)


def _by_tensorflow(image, size):
    return tf.image.resize(image, size, tf.image.ResizeMethod.BILINEAR, antialias=True).numpy()


# Smaller, larger, one of each, hardly changed, one line, one pixel.
@pytest.mark.parametrize("old", [(61, 90), (37, 29), (224, 225), (1, 50), (1, 1)])
@pytest.mark.parametrize("new", [(40, 40), (17, 64), (224, 224), (1, 1)])
@pytest.mark.parametrize("lead", [(), (3,)])
def test_it_is_tensorflows_to_the_bit(old, new, lead):
    image = _noise(*lead, *old, 3)
    found = resized(image, tf.constant(new)).numpy()
    assert found.dtype == np.float32
    assert np.array_equal(found, _by_tensorflow(image, new))


@pytest.mark.parametrize("new", [(40, 60), (50, 75)])
def test_a_window_is_a_part_of_the_whole(new):
    """Of what is resampled, and of what has its size already."""
    image = _noise(50, 75, 3)
    found = resized(image, tf.constant(new), Window((7, 11), (24, 32))).numpy()
    assert np.array_equal(found, _by_tensorflow(image, new)[7:31, 11:43])


def test_a_size_that_fits_keeps_every_value():
    image = _noise(13, 17, 3)
    assert np.array_equal(resized(image, tf.constant([13, 17])).numpy(), image.astype(np.float32))


def test_photographs(shared_data):
    """Of real sizes, as evaluation and training meet them."""
    from nas_tf.data.opening import open_source

    photos = open_source("imagenet2012", str(shared_data / "tfds")).examples("validation[:40]")
    graph = tf.function(
        resized, input_signature=[tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([2], tf.int32)]
    )
    for index, (image, _) in enumerate(photos):
        size = (224, 224) if index % 2 else (256, round(image.shape[1] * 256 / image.shape[0]))
        assert np.array_equal(graph(image, tf.constant(size)).numpy(), _by_tensorflow(image, size))
