"""A dataset's name leads to its reader, or to one sentence that says what is wrong with it."""

import pytest

from nas_tf.base.errors import UserError
from nas_tf.data import overview
from nas_tf.data.config import DataConfig
from nas_tf.data.folder import FolderSource
from nas_tf.data.opening import open_config, open_source
from nas_tf.data.prepared import RecordSource
from nas_tf.data.sources import ArraySource


def test_each_kind_of_dataset_finds_its_reader(tfds_dir, image_folder):
    asked = {
        "digits": ArraySource,
        str(image_folder): FolderSource,
        str(tfds_dir / "tiny_photos"): RecordSource,  # one version, by the folder above it
        str(tfds_dir / "tiny_photos" / "1.0.0"): RecordSource,
    }
    for name, kind in asked.items():
        source = open_source(name)
        assert type(source) is kind and source.name == name
    assert type(open_source("tiny_photos", str(tfds_dir))) is RecordSource


def test_a_folder_called_digits_is_not_taken_for_the_dataset(image_folder, monkeypatch):
    """The bare name is always scikit-learn's; as a path it is the folder."""
    image_folder.rename(image_folder.parent / "digits")
    monkeypatch.chdir(image_folder.parent)
    assert type(open_source("digits")) is ArraySource
    assert type(open_source("./digits")) is FolderSource


@pytest.mark.parametrize("name", ["./photos/cats", "../photos/cats", "/photos/train", "~/photos"])
def test_a_missing_folder_is_not_taken_for_a_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refusal:
        open_source(name)
    assert str(refusal.value) == f"The dataset folder {name!r} does not exist."


def test_no_name_is_refused():
    with pytest.raises(UserError, match="--dataset is empty; give a TFDS name, a folder, or 'digits'"):
        open_source("")


def test_what_a_dataset_holds_is_said_once(image_folder, capsys):
    overview.say_once.cache_clear()
    config = DataConfig(str(image_folder))
    assert open_config(config).labels == open_config(config).labels == ("cat", "dog")
    said = capsys.readouterr().err
    assert said.count(f"{image_folder}: 2 classes; images: train 20") == 1
    assert "cat: train 10" in said and "dog: train 10" in said
