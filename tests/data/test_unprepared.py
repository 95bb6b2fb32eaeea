"""ImageNet as TFDS users meet it: which archives go where, and commands that work."""

import io
import re
import shlex
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from nas_tf.base.errors import UserError
from nas_tf.data.opening import open_source
from nas_tf.data.unprepared import IMAGENET_ARCHIVES

TRAIN, VALIDATION = IMAGENET_ARCHIVES


def refusal(dataset, data_dir, **more):
    with pytest.raises(UserError) as refused:
        open_source(dataset, str(data_dir), **more)
    said = str(refused.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("download", [False, True])
def test_the_two_archives_and_where_they_go(download, tmp_path):
    said = refusal("imagenet2012", tmp_path, download=download)
    manual = tmp_path / "downloads" / "manual"
    assert f"put {TRAIN} (for the split 'train') and {VALIDATION} (for the split 'validation')" in said
    assert f"into {str(manual)!r}" in said and "https://image-net.org/download-images" in said
    assert f"data_dir={str(tmp_path)!r}).download_and_prepare()" in said
    assert not manual.exists(), "nothing was begun"


def test_what_is_there_is_not_asked_for(tmp_path):
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    (manual / VALIDATION).write_bytes(b"")
    said = refusal("imagenet2012", tmp_path)
    assert f"put {TRAIN}" in said and f"{VALIDATION} (for" not in said
    (manual / TRAIN).write_bytes(b"")
    said = refusal("imagenet2012", tmp_path)
    assert "its archives lie in" in said and "put " not in said


def test_archives_and_images_in_other_places(tmp_path):
    (tmp_path / TRAIN).write_bytes(b"")
    assert f"{TRAIN} lie in that folder: move to" in refusal("imagenet2012", tmp_path)
    (tmp_path / TRAIN).unlink()
    (tmp_path / "train" / "n01440764").mkdir(parents=True)
    said = refusal("imagenet2012", tmp_path)
    assert f"holds class folders of images: give it as --dataset={str(tmp_path)!r}" in said


def test_the_prepared_folder_itself_as_data_dir(tmp_path):
    folder = tmp_path / "imagenet2012" / "5.1.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    for given in (folder, folder.parent):
        said = refusal("imagenet2012", given)
        assert f"is itself a prepared dataset: give it as --dataset={str(given)!r}" in said


def test_imagenet_v2_is_fetched_by_tfds(tmp_path):
    said = refusal("imagenet_v2/matched-frequency", tmp_path)
    assert "tfds.builder('imagenet_v2/matched-frequency'" in said and "--download" in said
    assert "archives" not in said and "image-net.org" not in said


def test_the_command_that_is_shown_prepares_imagenet(tmp_path):
    """Run as it stands, on archives of a few images in the form of the real ones."""
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    with tarfile.open(manual / VALIDATION, "w") as archive:
        for index in (1, 2, 3):
            _add(archive, f"ILSVRC2012_val_{index:08d}.JPEG", _jpeg(index))
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as archive:
        _add(archive, "n01443537_1.JPEG", _jpeg(9))
    with tarfile.open(manual / TRAIN, "w") as archive:
        _add(archive, "n01443537.tar", inner.getvalue())
    said = refusal("imagenet2012", tmp_path)
    command = shlex.split(re.search(r"python -c \".*?\"", said).group(0))
    result = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    source = open_source("imagenet2012", str(tmp_path))
    assert source.num_classes == 1000 and source.split_size("validation") == 3
    assert list(source.labels_in_order("train")) == [1], "n01443537 is the goldfish, class 1"


def _add(archive, name, content):
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _jpeg(level):
    stream = io.BytesIO()
    Image.fromarray(np.full((20, 24, 3), level, np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def test_a_split_without_labels_is_refused_at_once(tmp_path):
    """The split `test` of ImageNet has −1 everywhere."""
    import tensorflow_datasets as tfds

    rows = [(i, {"image": np.full((10 + i, 14, 3), i, np.uint8), "label": -1}) for i in range(3)]
    named = [(i, row | {"label": i % 2}) for i, row in rows]
    tfds.dataset_builders.store_as_tfds_dataset(
        name="unlabelled",
        version="1.0.0",
        data_dir=tmp_path,
        disable_shuffling=False,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                "label": tfds.features.ClassLabel(names=["a", "b"]),
            }
        ),
        split_datasets={"test": rows, "validation": named},
        download_config=tfds.download.DownloadConfig(num_shards=1),
    )
    source = open_source("unlabelled", str(tmp_path))
    assert source.evaluation_split() == "validation"
    for split in ("test", "test[:2]"):
        with pytest.raises(UserError, match="has no labels, so nothing can be evaluated on it; it also has"):
            source.evaluation_split(split)
    with pytest.raises(UserError, match="has no split 'dev'; it has test, validation"):
        source.evaluation_split("dev")
