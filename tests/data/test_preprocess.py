"""The evaluation image, against hand computation, Pillow and the reference files."""

import numpy as np
import pytest
from PIL import Image

from nas_tf.data import preprocess
from nas_tf.data.config import default_resize_size
from nas_tf.data.opening import open_source


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_network_input_is_exact():
    found = preprocess.to_network_input(np.array([0, 1, 127, 128, 255], np.uint8)).numpy()
    assert found.tolist() == [-1.0, -127 / 128, -1 / 128, 0.0, 127 / 128]
    # As int8 with scale 1/128 that is x − 128 without rounding.
    every = np.arange(256, dtype=np.uint8)
    assert (preprocess.to_network_input(every).numpy() * 128 == every.astype(int) - 128).all()


@pytest.mark.parametrize("height, width, top, left", [(20, 30, 2, 7), (31, 20, 7, 2), (20, 21, 2, 2)])
def test_the_crop_is_central(height, width, top, left):
    """The short side has its size already, so nothing is resampled."""
    image = noise(height, width)
    found = preprocess.evaluation_image(image, 16, 20).numpy()
    assert (found == image[top : top + 16, left : left + 16]).all()


@pytest.mark.parametrize("height, width", [(64, 64), (96, 128), (50, 40), (20, 20)])
def test_resizing_agrees_with_pillow(height, width):
    """Pillow's bilinear filter is an independent implementation with antialiasing."""
    image = noise(height, width)
    size = 32
    scaled = (round(width * size / min(height, width)), round(height * size / min(height, width)))
    wanted = np.asarray(Image.fromarray(image).resize(scaled, Image.Resampling.BILINEAR)).astype(int)
    top, left = (scaled[1] - size) // 2, (scaled[0] - size) // 2
    found = preprocess.evaluation_image(image, size, size).numpy().astype(int)
    assert np.abs(found - wanted[top : top + size, left : left + size]).max() <= 1


def test_a_batch_is_as_its_images():
    images = np.stack([noise(24, 36, seed) for seed in range(3)])
    batch = preprocess.evaluation_image(images, 16, 18).numpy()
    for image, found in zip(images, batch):
        assert (preprocess.evaluation_image(image, 16, 18).numpy() == found).all()


@pytest.mark.parametrize(
    "resolution, image_size, wanted",
    [(224, None, 256), (176, None, 201), (160, 500, 183), (32, 32, 32), (16, 8, 16), (64, 64, 64)],
)
def test_default_resize_size(resolution, image_size, wanted):
    assert default_resize_size(resolution, image_size) == wanted


def test_reference_images_are_reproduced(shared_data):
    """The images that the published network's authors fed, from the same stored photographs."""
    reference = np.load(shared_data / "proxylessnas" / "proxyless-w0.3-r176_imagenet_reference_logits.npz")
    wanted = dict(zip(reference["labels"].tolist(), reference["images"].astype(int)))
    source = open_source("imagenet2012", str(shared_data / "tfds"))
    compared = 0
    for image, label in source.examples("validation").as_numpy_iterator():
        if int(label) in wanted:
            found = preprocess.evaluation_image(image, 176, 201).numpy().astype(int)
            difference = np.abs(found - wanted[int(label)])
            # A crop that is off by one pixel differs by 4 to 10 on average.
            assert difference.mean() < 0.25 and difference.max() <= 2
            compared += 1
    assert compared == 16
