"""Folders of class folders, whole and broken."""

import shutil
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from nas_tf.base.errors import UserError
from nas_tf.data import batches, folder
from nas_tf.data.config import DataConfig
from nas_tf.data.opening import open_config, open_source
from tests.data.conftest import write_image


def pairs(source, split):
    """(level, label) of every image."""
    return [(int(image[0, 0, 0]), int(label)) for image, label in source.examples(split).as_numpy_iterator()]


def test_classes_and_images_are_found(image_folder):
    source = open_source(str(image_folder))
    assert source.labels == ("cat", "dog") and source.split_names() == ("train",)
    assert sorted(pairs(source, "train")) == sorted(
        [(i, 0) for i in range(10)] + [(100 + i, 1) for i in range(10)]
    )
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
    (tmp_path / "cat" / "moving.gif").touch()
    with pytest.raises(UserError, match="holds 1 image of a format that is not read .*moving.gif"):
        open_source(str(tmp_path))


def test_one_class(image_folder):
    shutil.rmtree(image_folder / "dog")
    with pytest.raises(UserError, match="images of one class only \\('cat'\\)"):
        open_source(str(image_folder))


def test_a_missing_folder():
    with pytest.raises(UserError, match="folder '/no/such/folder' does not exist"):
        open_source("/no/such/folder")


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-40])
    return path


def broken_inside(path):
    """Header and end are whole, so only decoding can tell."""
    content = bytearray(path.read_bytes())
    content[60:80] = bytes(20)
    path.write_bytes(content)
    return path


@pytest.fixture(name="as_if_large")
def _as_if_large(monkeypatch):
    """A folder of which not every file is decoded before work."""
    monkeypatch.setattr(folder, "DECODED_PIXELS", 0)


def refusal(root):
    with pytest.raises(UserError) as caught:
        open_source(str(root))
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_an_image_cut_short_is_named_at_once(image_folder, suffix, as_if_large):
    cut_short(write_image(image_folder / "dog" / f"broken{suffix}", 40, 40, 60))
    said = refusal(image_folder)
    assert "1 image file that cannot be decoded; repair or remove" in said
    assert f"leave them out with --max_bad_images=1:\n  dog/broken{suffix}: " in said


def test_all_bad_files_are_named_at_once(image_folder):
    for index in range(30):
        (image_folder / "cat" / f"letter{index:02}.jpg").write_text("dear reader")
    (image_folder / "cat" / "empty.png").touch()
    cut_short(write_image(image_folder / "dog" / "cut.png", 40, 40))
    broken_inside(write_image(image_folder / "dog" / "middle.png", 64, 64, 60))
    message = refusal(image_folder)
    assert "33 image files that cannot be decoded" in message
    assert "cat/letter00.jpg: it is no image" in message and "cat/empty.png: it is empty" in message
    assert message.endswith("\n  … and 13 more") and message.count("\n  ") == 21
    for path in (image_folder / "cat").glob("letter*"):
        path.unlink()
    assert "dog/cut.png: " in refusal(image_folder) and "dog/middle.png: " in refusal(image_folder)


def test_a_file_is_judged_by_its_content(image_folder):
    """Web pages hand out WebP under the name of JPEG; a GIF is none that is read."""
    write_image(image_folder / "cat" / "web.jpg", level=77, image_format="WEBP")
    assert (77, 0) in pairs(open_source(str(image_folder)), "train")
    write_image(image_folder / "cat" / "moving.jpg", level=78, image_format="GIF")
    assert "cat/moving.jpg: it is of the format GIF, whatever its name" in refusal(image_folder)


def test_animations_are_refused(image_folder):
    frames = [Image.new("RGB", (9, 9), (level, 0, 0)) for level in (0, 200)]
    frames[0].save(image_folder / "cat" / "a.webp", save_all=True, append_images=frames[1:])
    assert "cat/a.webp: it is an animation" in refusal(image_folder)


def test_bytes_after_the_end_are_no_fault(image_folder):
    """Cameras append data to whole files."""
    path = write_image(image_folder / "dog" / "camera.jpg")
    path.write_bytes(path.read_bytes() + b"\0" * 64)
    assert open_source(str(image_folder)).split_size("train") == 21


def test_in_a_large_folder_what_is_broken_inside_is_named_when_it_is_read(image_folder, as_if_large):
    for name in ("one", "two"):
        broken_inside(write_image(image_folder / "dog" / f"{name}.png", 64, 64, 60))
    source = open_source(str(image_folder))
    with pytest.raises(
        UserError,
        match="holds 2 image files that cannot be decoded; repair or "
        r"remove:\n  dog/(one|two).png: .*\n  dog/(one|two).png: ",
    ):
        list(batches.readable(source, batches.evaluation_batches(source, "train", 4, 8)))


def test_a_webp_file_broken_inside_is_named(image_folder, as_if_large):
    """Cut short, with a length in its header that hides it."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = image_folder / "dog" / "cut.webp"
    Image.fromarray(noise).save(path)
    content = path.read_bytes()[:1000]
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    with pytest.raises(UserError, match="dog/cut.webp: "):
        source = open_source(str(image_folder))
        list(batches.readable(source, batches.evaluation_batches(source, "train", 4, 8)))


def test_what_pillow_cannot_decode_while_training_is_named(image_folder, as_if_large):
    """A file that is replaced by a broken one while a run reads it."""
    path = write_image(image_folder / "dog" / "new.bmp")
    source = open_source(str(image_folder))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match="dog/new.bmp: .*truncated"):
        list(batches.readable(source, batches.evaluation_batches(source, "train", 4, 8)))


def test_a_file_that_goes_away_is_named(image_folder):
    source = open_source(str(image_folder))
    (image_folder / "cat" / "3.png").unlink()
    with pytest.raises(UserError, match="cat/3.png: .*No such file"):
        list(batches.readable(source, batches.evaluation_batches(source, "train", 4, 8)))


def test_a_file_that_was_repaired_is_looked_at_again(image_folder):
    path = cut_short(write_image(image_folder / "dog" / "new.png", 40, 40))
    assert "dog/new.png" in refusal(image_folder)
    write_image(path, 40, 40)
    assert open_source(str(image_folder)).split_size("train") == 21


def test_other_formats_are_refused_by_name(image_folder):
    write_image(image_folder / "cat" / "moving.gif")
    write_image(image_folder / "dog" / "scan.TIFF")
    message = refusal(image_folder)
    assert "2 images of a format that is not read (.gif 1, .tiff 1: cat/moving.gif, dog/scan.TIFF" in message
    assert "convert to one of .jpg, " in message


@pytest.mark.parametrize(
    "content, words",
    [(None, "empty"), ("x.gif", ".gif 1"), ("notes.txt", ".txt 1"), (".hidden.png", ".png 1")],
)
def test_a_class_folder_without_images_is_refused(image_folder, content, words):
    (image_folder / "owl").mkdir()
    if content:
        (image_folder / "owl" / content).touch()
    assert f"1 class folder without an image that is read; fill or remove: owl/ ({words})" in refusal(
        image_folder
    )


@pytest.fixture(name="split_folder")
def _split_folder(tmp_path):
    """Classes a and b in the splits train and test."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            write_image(tmp_path / split / name / "0.png")
    return tmp_path


def test_classes_and_splits_without_images_are_refused(split_folder):
    (split_folder / "test" / "c").mkdir()
    (split_folder / "validation" / "a").mkdir(parents=True)
    (split_folder / "dev").mkdir()
    assert (
        "3 class folders without an image that is read; fill or remove: dev/ (empty), "
        "test/c/ (empty), validation/a/ (empty)"
    ) in refusal(split_folder)


def test_a_class_that_one_split_lacks_is_named(split_folder):
    write_image(split_folder / "train" / "c" / "0.png")
    (split_folder / "test" / "c").mkdir()
    source = open_source(str(split_folder))
    assert source.labels == ("a", "b", "c")
    assert source.overview().splitlines()[-2:] == [
        "  c: test 0, train 1",
        "  left out: 1 class folder without an image: test/c/ (empty)",
    ]


@pytest.mark.parametrize("stray", ["cat/more/0.png", "cat/a/b/0.png"])
def test_images_of_unclear_class_are_refused(image_folder, stray):
    write_image(image_folder / stray)
    message = refusal(image_folder)
    assert "so that their classes are not clear" in message and stray in message


def test_what_is_left_out_is_said(image_folder):
    for name in (
        "notes.txt",
        "cat/list.csv",
        "cat/Thumbs.db",
        "cat/.DS_Store",
        "__MACOSX/cat/0.png",
        ".cache/0.png",
    ):
        (image_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (image_folder / name).touch()
    write_image(image_folder / "cover.png")
    assert open_source(str(image_folder)).overview().splitlines() == [
        f"{image_folder}: 2 classes; images: train 20",
        "  cat: train 10",
        "  dog: train 10",
        "  left out: 1 image outside class folders (.png 1: cover.png)",
        "  left out: 3 hidden files (.png 2, no suffix 1: .cache/0.png, __MACOSX/cat/0.png, cat/.DS_Store)",
        "  left out: 3 other files (.db 1, .csv 1, .txt 1: cat/Thumbs.db, cat/list.csv, notes.txt)",
    ]


def test_the_overview_is_printed_once_before_work(image_folder, capsys):
    for _ in range(2):
        open_config(DataConfig(str(image_folder)))
    assert capsys.readouterr().err.count(f"{image_folder}: 2 classes; images: train 20") == 1


def test_of_many_classes_the_first_are_listed(tmp_path):
    for index in range(25):
        for count in range(1 + index % 3):
            write_image(tmp_path / f"c{index:02}" / f"{count}.png")
    lines = open_source(str(tmp_path)).overview().splitlines()
    assert len(lines) == 22 and lines[-1] == "  … 5 more classes of 1 to 3 images"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_photographs_are_turned_upright(image_folder, orientation, suffix):
    """As Pillow turns them, which is an independent implementation."""
    pixels = np.random.default_rng(orientation).integers(0, 256, (4, 6, 3), np.uint8)
    picture = Image.fromarray(np.kron(pixels, np.ones((8, 8, 1), np.uint8)))
    exif = Image.Exif()
    exif[274] = orientation
    for name in ("a", "b"):
        path = image_folder.parent / "turned" / name / f"0{suffix}"
        path.parent.mkdir(parents=True)
        picture.save(path, exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).astype(int)
    source = open_source(str(image_folder.parent / "turned"))
    for image, _ in source.examples("train").as_numpy_iterator():
        assert image.shape == wanted.shape == ((32, 48, 3) if orientation < 5 else (48, 32, 3))
        assert np.abs(image - wanted).max() <= (1 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
@pytest.mark.parametrize("image_format", ["WEBP", "BMP"])
def test_webp_and_bmp_as_pillow_reads_them(image_folder, image_format, mode):
    """With opacity, which is dropped, and with a palette."""
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    picture = Image.fromarray(pixels).convert(mode)
    path = image_folder / "cat" / f"0.{image_format.lower()}"
    picture.save(path, image_format, lossless=True)
    wanted = np.asarray(Image.open(path).convert("RGB"))
    found = [
        image
        for image, _ in open_source(str(image_folder)).examples("train").as_numpy_iterator()
        if image.shape == (20, 30, 3)
    ]
    assert len(found) == 1 and (found[0] == wanted).all()


def test_a_damaged_orientation_says_nothing(image_folder):
    exif = Image.Exif()
    exif[274] = 77
    Image.new("RGB", (10, 20)).save(image_folder / "cat" / "odd.jpg", exif=exif)
    shapes = [i.shape for i, _ in open_source(str(image_folder)).examples("train").as_numpy_iterator()]
    assert (20, 10, 3) in shapes


def _damage(image_folder, count):
    """So many bad files, which only decoding shows: their ends are whole."""
    names = []
    for index in range(count):
        path = write_image(image_folder / "dog" / f"z{index}.png", 40, 40, 60)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(bytes(content))
        names.append(f"dog/z{index}.png")
    return names


def test_bad_images_are_left_out_and_named_up_to_the_limit(image_folder, as_if_large):
    """Even of a large folder all files are decoded first: one met later could not be left out."""
    names = _damage(image_folder, 3)
    whole = open_source(str(image_folder), max_bad_images=3)
    assert sorted(pairs(whole, "train")) == sorted(
        [(i, 0) for i in range(10)] + [(100 + i, 1) for i in range(10)]
    )
    said = whole.overview()
    assert "left out: 3 image files that cannot be decoded; left out by --max_bad_images:" in said
    assert all(name in said for name in names)
    with pytest.raises(UserError) as refused:
        open_source(str(image_folder), max_bad_images=2)
    assert "3 image files that cannot be decoded; repair or remove" in str(refused.value)
    assert "leave them out with --max_bad_images=3 instead of 2:" in str(refused.value)
    assert all(name in str(refused.value) for name in names)


def test_the_order_is_that_of_a_folder_without_the_bad_ones(image_folder):
    clean = pairs(open_source(str(image_folder)), "train")
    _damage(image_folder, 2)
    assert pairs(open_source(str(image_folder), max_bad_images=9), "train") == clean


def test_a_class_of_bad_images_alone_is_refused(image_folder):
    for path in (image_folder / "cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="has no image left of 'cat'; all are bad"):
        open_source(str(image_folder), max_bad_images=99)


def test_bad_images_are_of_folders_alone():
    with pytest.raises(
        UserError, match="--max_bad_images=1 is for folders of image files; the dataset 'digits'"
    ):
        open_source("digits", max_bad_images=1)
    # Which files are read is not decided by how many could be left out.
    assert DataConfig("digits", max_bad_images=3).identity() == DataConfig("digits").identity()
