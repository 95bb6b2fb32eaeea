"""Parts of JPEGs, against the same parts of the whole decoded image."""

import io
import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from nas_tf.data import augment, batches
from nas_tf.data.config import Augmentation
from nas_tf.data.decode import decode_reduced_window, decode_rgb, decode_window, jpeg_size
from nas_tf.data.opening import open_source

UPRIGHT = tf.constant(1)


def _picture(height, width, seed=0):
    """Smooth colours with some noise, as a camera's."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(image + rng.integers(-12, 13, image.shape), 0, 255).astype(np.uint8)


def _jpeg(image, **how):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=85, **how)
    return tf.constant(stream.getvalue())


KINDS = {
    "4:2:0": {"subsampling": 2},
    "4:2:2": {"subsampling": 1},
    "4:4:4": {"subsampling": 0},
    "progressive": {"subsampling": 2, "progressive": True},
    "restarts": {"subsampling": 2, "restart_marker_blocks": 3},
}


def _contents():
    image = _picture(75, 101)
    return {name: _jpeg(image, **how) for name, how in KINDS.items()} | {"grey": _jpeg(image[..., 0])}


@pytest.mark.parametrize("name", [*KINDS, "grey"])
def test_a_window_is_a_part_of_the_whole(name):
    """To the bit, wherever it lies, with sides on and off the blocks of 8 and 16 pixels."""
    content = _contents()[name]
    whole, size = decode_rgb(content).numpy(), jpeg_size(content, UPRIGHT)
    assert size.numpy().tolist() == [75, 101]
    cut = tf.function(decode_window)
    edges = [0, 1, 15, 16, 17, 40, 74]
    for top, left in itertools.product(edges, edges):
        for height, width in ((1, 1), (16, 33), (75 - top, 101 - left)):
            height, width = min(height, 75 - top), min(width, 101 - left)
            found = cut(content, size, tf.constant([top, left]), tf.constant([height, width])).numpy()
            assert np.array_equal(found, whole[top : top + height, left : left + width])


@pytest.mark.parametrize("name", ["PNG", "lies on its side", "four inks"])
def test_what_has_to_be_decoded_whole(name):
    stream, image = io.BytesIO(), Image.fromarray(_picture(20, 30))
    (image.convert("CMYK") if name == "four inks" else image).save(stream, "PNG" if name == "PNG" else "JPEG")
    orientation = tf.constant(6 if name == "lies on its side" else 1)
    assert jpeg_size(tf.constant(stream.getvalue()), orientation).numpy().tolist() == [0, 0]


@pytest.mark.parametrize("extent, wanted", [(63, 63), (64, 32), (127, 64), (128, 32), (255, 64), (256, 32)])
def test_a_reduced_window_has_the_smallest_size_that_is_enough(extent, wanted):
    content = _jpeg(_picture(300, 280))
    size = jpeg_size(content, UPRIGHT)
    begin = tf.constant([17, 9])
    found = tf.function(decode_reduced_window)(content, size, begin, tf.constant([extent, extent + 3]), 32)
    assert found.shape[0] == wanted


def test_a_reduced_window_shows_nearly_the_same():
    """Where the whole is smooth, so that a shift by one pixel would show and frequencies left out do not."""
    rows, columns = np.mgrid[0:301, 0:403]
    image = np.stack([rows * 255 // 300, columns * 255 // 402, (rows + columns) * 255 // 702], -1).astype(
        np.uint8
    )
    content = _jpeg(image, subsampling=0)
    size, begin, extent = jpeg_size(content, UPRIGHT), tf.constant([32, 64]), tf.constant([256, 320])
    found = tf.function(decode_reduced_window)(content, size, begin, extent, 32).numpy().astype(float)
    means = image[32:288, 64:384].reshape(32, 8, 40, 8, 3).mean((1, 3))
    # A shift by one pixel of the small image would be 255 · 8 / 300 = 6.8.
    assert found.shape == means.shape and np.abs(found - means).max() < 3


@pytest.mark.parametrize("reduced", [False, True])
def test_a_window_at_the_end_stays_in_the_image(reduced):
    """Sizes that no ratio divides."""
    content = _jpeg(_picture(131, 133))
    size = jpeg_size(content, UPRIGHT)
    for side in (16, 17, 33, 67, 131):
        begin = tf.constant([131 - side, 133 - side])
        window = (content, size, begin, tf.constant([side, side]))
        found = decode_reduced_window(*window, 4) if reduced else decode_window(*window)
        assert min(found.shape[:2]) >= (4 if reduced else side)


def _views_of_the_whole(source, augmentation, resolution, seed, count):
    """As training drew them before: every image decoded whole."""
    for place, (image, _) in enumerate(source.endless("train", seed).take(count)):
        key = tf.constant([seed, place], tf.int64)
        size = tf.cast(tf.shape(image)[:2], tf.float32)
        views = augment.sample_views(key, 1, size, augmentation)
        yield augment.view_image(image, resolution, views).numpy()


def test_training_sees_the_bits_of_whole_images(tmp_path):
    """JPEGs of any kind, one that lies on its side, and a PNG."""
    for label in "ab":
        folder = tmp_path / label
        folder.mkdir()
        for index, how in enumerate(KINDS.values()):
            image = Image.fromarray(_picture(90 + index, 120 - index, index))
            image.save(folder / f"{index}.jpg", **how)
        turned = Image.Exif()
        turned[0x0112] = 6
        Image.fromarray(_picture(80, 60)).save(folder / "turned.jpg", exif=turned)
        Image.fromarray(_picture(70, 60)).save(folder / "plain.png")
    source, strong = open_source(str(tmp_path)), Augmentation(0.1, True, 1.0)
    ((found, _),) = batches.training_batches(source, "train", 28, 32, strong, seed=3).take(1)
    wanted = np.stack(list(_views_of_the_whole(source, strong, 32, 3, 28)))
    assert np.array_equal(found.numpy(), wanted)


def test_training_on_real_photographs_sees_the_bits_of_whole_images(shared_data):
    source, strong = open_source("imagenet2012", str(shared_data / "tfds")), Augmentation()
    ((found, _),) = batches.training_batches(source, "train", 40, 160, strong, seed=3).take(1)
    wanted = np.stack(list(_views_of_the_whole(source, strong, 160, 3, 40)))
    assert np.array_equal(found.numpy(), wanted)


def test_reduced_decoding_changes_large_crops_alone(tmp_path):
    for label, side in (("large", 400), ("small", 60)):
        (tmp_path / label).mkdir()
        for index in range(3):
            Image.fromarray(_picture(side, side, index)).save(tmp_path / label / f"{index}.jpg", quality=90)
    source = open_source(str(tmp_path))

    def seen(reduced):
        augmentation = Augmentation(0.5, True, 0.0, reduced_decoding=reduced)
        ((images, labels),) = batches.training_batches(source, "train", 18, 48, augmentation, 0).take(1)
        return images.numpy().astype(int), labels.numpy()

    (exact, labels), (reduced, _) = seen(False), seen(True)
    difference = np.abs(exact - reduced).mean((1, 2, 3))
    # Of 60 pixels no crop is twice as large as 48; of 400, half the area is five times as large.
    assert (difference[labels == 1] == 0).all()
    assert (difference[labels == 0] > 0).all() and difference.max() < 6
