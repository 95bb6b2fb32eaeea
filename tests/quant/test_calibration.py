"""Which calibration images are of one picture, and that all its views are held out together."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from nas_tf.data.config import NO_AUGMENTATION, Augmentation, DataConfig
from nas_tf.data.opening import open_source
from quant import calibration, layer_samples, reconstruction
from quant.finetune_config import FinetuneConfig

CONFIG = FinetuneConfig(
    data=DataConfig("digits", train_split="train[:20]"), augmentation=NO_AUGMENTATION, calibration_images=70
)


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    """20 photographs of noise, higher than wide, so that every resizer makes something else of them."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    for index in range(20):
        (root / "ab"[index % 2]).mkdir(exist_ok=True)
        image = random.integers(0, 256, (31, 23, 3), np.uint8)
        Image.fromarray(image).save(root / "ab"[index % 2] / f"{index}.png")
    return root


def test_equal_images_have_equal_numbers_however_often_the_split_is_gone_through():
    found = calibration.read_images(open_source("digits"), CONFIG, 8, 8)
    images = np.concatenate(found.batches)
    assert images.shape == (70, 8, 8, 3) and found.pictures.shape == (70,)
    # Nothing is augmented here: views of one picture are equal, and no two of the 20 are.
    same = np.array([[np.array_equal(a, b) for b in images] for a in images])
    np.testing.assert_array_equal(found.pictures[:, None] == found.pictures[None, :], same)
    assert len(set(found.pictures[:20])) == 20


@pytest.mark.parametrize(
    "views", [Augmentation(min_crop_area=0.4, flip=True), Augmentation(min_crop_area=1.0, flip=True)]
)
def test_a_view_has_the_number_of_the_picture_it_shows(views):
    source = open_source("digits")
    plain = calibration.read_images(source, CONFIG, 8, 8)
    found = calibration.read_images(source, dataclasses.replace(CONFIG, augmentation=views), 8, 8)
    # The numbers follow from what the pictures are, not from how they were augmented.
    np.testing.assert_array_equal(found.pictures, plain.pictures)
    different = np.concatenate(found.batches)[20:] != np.concatenate(plain.batches)[20:]
    assert different.any(axis=(1, 2, 3)).mean() > 0.3


@pytest.mark.parametrize("count", [12, 70])
def test_other_resizers_change_images_and_not_the_pictures_they_show(count, image_folder):
    source = open_source(str(image_folder))
    config = dataclasses.replace(CONFIG, data=DataConfig(str(image_folder)), calibration_images=count)
    robust = dataclasses.replace(NO_AUGMENTATION, resize_robustness=1.0)
    plain = calibration.read_images(source, config, 8, 9)
    found = calibration.read_images(source, dataclasses.replace(config, augmentation=robust), 8, 9)
    np.testing.assert_array_equal(found.pictures, plain.pictures)
    different = np.concatenate(found.batches) != np.concatenate(plain.batches)
    # The plain images too, which are all where a split has enough of them.
    assert different[:12].any(axis=(1, 2, 3)).all()


def test_enough_images_need_no_views():
    config = dataclasses.replace(CONFIG, calibration_images=12)
    found = calibration.read_images(open_source("digits"), config, 8, 8)
    np.testing.assert_array_equal(found.pictures, np.arange(12))


def test_images_are_spread_from_first_to_last():
    np.testing.assert_array_equal(calibration.spread(np.arange(9), 3), [0, 4, 8])
    np.testing.assert_array_equal(calibration.spread(np.arange(4), 9), np.arange(4))
    batches = [np.arange(12.0).reshape(3, 4), np.arange(12.0, 24.0).reshape(3, 4)]
    images, pictures = calibration.CalibrationImages(batches, np.array([0, 1, 2, 0, 1, 2])).spread(3)
    np.testing.assert_array_equal(images[:, 0], [0.0, 8.0, 20.0])
    np.testing.assert_array_equal(pictures, [0, 2, 2])


def test_every_fourth_picture_is_held_out_with_all_its_views():
    pictures = np.array([7, 3, 5, 9, 1, 2, 0, 4, 9, 7, 4, 4])
    held = layer_samples.held_out(pictures)
    np.testing.assert_array_equal(np.flatnonzero(held), [3, 7, 8, 10, 11])  # of 9 and 4


def test_no_view_of_a_held_out_picture_is_fitted_to(quantized, random_images, monkeypatch):
    qat_model, folded = quantized
    pictures = np.array([*range(10), *range(10), *range(10)])
    seen, solutions = [], reconstruction._solutions

    def recording(samples, *rest):
        seen.append(len(samples.targets))
        return solutions(samples, *rest)

    choose, shares = layer_samples.judges, []

    def checking(held, positions, shape):
        judges = choose(held, positions, shape)
        starts = range(0, shape[0], layer_samples.CHUNK)
        per_image = shape[1] * shape[2]
        of = np.concatenate([pictures[start + where // per_image] for start, where in zip(starts, positions)])
        assert not set(of[judges]) & set(of[~judges])
        assert set(of[judges]) == {3, 7} and set(of[~judges]) == {0, 1, 2, 4, 5, 6, 8, 9}
        shares.append(int(np.sum(~judges)))
        return judges

    monkeypatch.setattr(reconstruction, "_solutions", recording)
    monkeypatch.setattr(layer_samples, "judges", checking)
    reconstruction.reconstruct(folded, qat_model, random_images(30), pictures=pictures)
    assert seen == shares and seen


def test_a_single_picture_holds_out_its_last_positions():
    rows = layer_samples.judges(np.array([False]), [np.arange(40)], (1, 8, 8, 4))
    np.testing.assert_array_equal(np.flatnonzero(rows), np.arange(30, 40))
