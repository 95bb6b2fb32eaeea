"""Folders of class folders, whole and broken."""

import shutil

import numpy as np
import pytest
from PIL import Image

from nas_tf.data import batches
from nas_tf.data.sources import open_source
from nas_tf.errors import UserError
from tests.data.conftest import write_image


def pairs(source, split):
    """(level, label) of every image."""
    return [(int(image[0, 0, 0]), int(label))
            for image, label in source.examples(split).as_numpy_iterator()]


def test_classes_and_images_are_found(image_folder):
    source = open_source(str(image_folder))
    assert source.labels == ("cat", "dog") and source.split_names() == ("train",)
    assert sorted(pairs(source, "train")) == sorted(
        [(i, 0) for i in range(10)] + [(100 + i, 1) for i in range(10)])
    assert source.image_size == 12


def test_slices_are_disjoint_and_hold_both_classes(image_folder):
    source = open_source(str(image_folder))
    first, second = pairs(source, "train[:60%]"), pairs(source, "train[60%:]")
    assert len(first) == 12 and not set(first) & set(second)
    assert {label for _, label in first} == {label for _, label in second} == {0, 1}


def test_folders_of_splits(tmp_path):
    for split, count in (("train", 3), ("validation", 2)):
        for name in ("a", "b"):
            for index in range(count):
                write_image(tmp_path / split / name / f"{index}.jpg", level=50)
    source = open_source(str(tmp_path))
    assert source.split_size("train") == 6 and source.split_size("validation") == 4
    assert source.evaluation_split() == "validation"


def test_a_class_may_be_missing_from_a_split(tmp_path):
    """Labels are numbered over all splits, as in tfds.ImageFolder."""
    for name in ("a", "b", "c"):
        write_image(tmp_path / "train" / name / "0.png")
    write_image(tmp_path / "test" / "c" / "0.png", level=9)
    assert pairs(open_source(str(tmp_path)), "test") == [(9, 2)]


def test_grey_and_transparent_images_become_rgb(image_folder):
    Image.fromarray(np.full((5, 5), 7, np.uint8), "L").save(image_folder / "cat" / "grey.png")
    Image.fromarray(np.full((5, 5, 4), 8, np.uint8), "RGBA").save(image_folder / "cat" / "a.png")
    source = open_source(str(image_folder))
    assert source.image_size is None
    shapes = {image.shape for image, _ in source.examples("train").as_numpy_iterator()}
    assert shapes == {(12, 16, 3), (5, 5, 3)}


def test_no_evaluation_split(image_folder):
    with pytest.raises(UserError, match="neither a split 'validation' nor 'test'.*eval_split="):
        open_source(str(image_folder)).evaluation_split()


def test_no_images(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("none")
    with pytest.raises(UserError, match=r"holds no images; expected .*<split>/<class>/\*.jpg"):
        open_source(str(tmp_path))


def test_one_class(image_folder):
    shutil.rmtree(image_folder / "dog")
    with pytest.raises(UserError, match="images of one class only \\('cat'\\)"):
        open_source(str(image_folder))


def test_a_missing_folder():
    with pytest.raises(UserError, match="folder '/no/such/folder' does not exist"):
        open_source("/no/such/folder")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image_cut_short_is_named_at_once(image_folder, suffix):
    path = write_image(image_folder / "dog" / f"broken{suffix}", 40, 40, 60)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=f"dog/broken{suffix}' cannot be decoded"):
        open_source(str(image_folder))


def test_text_under_an_image_name_is_named_at_once(image_folder):
    (image_folder / "cat" / "letter.jpg").write_text("dear reader")
    with pytest.raises(UserError, match="cat/letter.jpg' cannot be decoded"):
        open_source(str(image_folder))


def test_bytes_after_the_end_are_no_fault(image_folder):
    """Cameras append data to whole files."""
    path = write_image(image_folder / "dog" / "camera.jpg")
    path.write_bytes(path.read_bytes() + b"\0" * 64)
    assert open_source(str(image_folder)).split_size("train") == 21


def test_an_image_broken_inside_is_named_when_it_is_read(image_folder):
    """Header and end are whole, so only decoding can tell."""
    path = write_image(image_folder / "dog" / "middle.png", 64, 64, 60)
    content = bytearray(path.read_bytes())
    content[60:80] = bytes(20)
    path.write_bytes(content)
    source = open_source(str(image_folder))
    with pytest.raises(UserError, match="dog/middle.png' cannot be decoded.*repair or remove it"):
        list(batches.readable(source, batches.evaluation_batches(source, "train", 4, 8)))
