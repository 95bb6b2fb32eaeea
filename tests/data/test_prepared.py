"""Datasets prepared by TFDS, streamed and in memory, by name and by folder."""

import itertools
import shutil

import numpy as np
import pytest
import tensorflow as tf

from nas_tf.base.errors import UserError
from nas_tf.data import batches
from nas_tf.data.config import Part
from nas_tf.data.opening import open_source
from nas_tf.data.sources import ArraySource
from tests.data.conftest import NUM_TEST, NUM_TRAIN


@pytest.fixture(scope="module")
def photos(tfds_dir):
    return open_source("tiny_photos", str(tfds_dir))


def levels(examples, count=None):
    """Grey levels, which tell the images apart."""
    return [int(image[0, 0, 0]) for image, _ in itertools.islice(examples.as_numpy_iterator(), count)]


def test_sizes_and_labels(photos):
    assert photos.labels == ("red", "green", "blue") and photos.image_size is None
    assert photos.split_size("train") == NUM_TRAIN and photos.split_size("test") == NUM_TEST
    assert photos.split_size("train[:50%]+test") == round(NUM_TRAIN / 2) + NUM_TEST


def test_every_image_once_with_its_label(photos):
    found = [
        (int(image[0, 0, 0]), int(label)) for image, label in photos.examples("train").as_numpy_iterator()
    ]
    assert sorted(found) == [(i, i % 3) for i in range(NUM_TRAIN)]
    assert [label for _, label in found] == list(photos.labels_in_order("train"))


def test_slices_follow_the_fixed_order(photos):
    whole = levels(photos.examples("train"))
    assert levels(photos.examples("train[5:9]")) == whole[5:9]


def test_every_epoch_holds_every_image(photos):
    seen = levels(photos.endless("train", seed=1), 3 * NUM_TRAIN)
    epochs = [seen[i * NUM_TRAIN : (i + 1) * NUM_TRAIN] for i in range(3)]
    assert all(sorted(epoch) == list(range(NUM_TRAIN)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("start", [5, NUM_TRAIN, NUM_TRAIN + 9])
def test_a_stream_can_be_taken_up_anywhere(photos, start):
    whole = levels(photos.endless("train", seed=1), start + 30)
    assert levels(photos.endless("train", seed=1, start=start), 30) == whole[start:]


@pytest.fixture(name="global_seed")
def _global_seed():
    """Sets TensorFlow's global seed, and takes it away afterwards."""
    yield tf.random.set_seed
    tf.random.set_seed(None)


def test_a_stream_knows_no_seed_but_its_own(tfds_dir, global_seed):
    """A function of (seed, place): commands set the global seed, to 0 by default."""
    shards = open_source("tiny_shards", str(tfds_dir))
    found = []
    for value in (None, 0, 1, 2**40):
        global_seed(value)
        found.append(levels(shards.endless("train", seed=0), 2 * NUM_TRAIN))
    assert found[0] == found[1] == found[2] == found[3]
    assert levels(shards.endless("train", seed=1), 2 * NUM_TRAIN) != found[0]


def test_a_stream_leaves_the_global_seed_alone(photos, global_seed):
    global_seed(7)
    wanted = tf.random.uniform([3]).numpy().tolist()
    global_seed(7)
    levels(photos.endless("train", seed=5), 3)
    assert tf.random.uniform([3]).numpy().tolist() == wanted


def test_several_files_are_mixed(tfds_dir):
    """Every epoch holds all records of the five files, each time in another order."""
    shards = open_source("tiny_shards", str(tfds_dir))
    assert len(list((tfds_dir / "tiny_shards/1.0.0").glob("*train*"))) == 5
    seen = levels(shards.endless("train", seed=0), 2 * NUM_TRAIN)
    assert sorted(seen[:NUM_TRAIN]) == sorted(seen[NUM_TRAIN:]) == list(range(NUM_TRAIN))
    assert seen[:NUM_TRAIN] != seen[NUM_TRAIN:]
    assert levels(shards.endless("train", seed=0, start=30), 9) == seen[30:39]


def test_parts_divide_the_split(photos):
    order = levels(photos.examples("train"))
    kept, rest = Part("train", (1, 4, 20)), Part("train", (1, 4, 20), complement=True)
    chosen = [order[i] for i in kept.positions]
    assert levels(photos.examples(kept)) == chosen
    assert levels(photos.examples(rest)) == [v for v in order if v not in chosen]
    assert set(levels(photos.endless(kept, 0), 30)) == set(chosen)
    assert not set(levels(photos.endless(rest, 0), 60)) & set(chosen)
    assert photos.part_size(kept) == 3 and photos.part_size(rest) == NUM_TRAIN - 3


def test_small_images_are_kept_in_memory_as_rgb(tfds_dir):
    icons = open_source("tiny_icons", str(tfds_dir))
    assert isinstance(icons, ArraySource) and icons.image_size == 8
    images, labels = icons.columns("train")
    assert images.shape == (NUM_TRAIN, 8, 8, 3) and images.dtype == np.uint8
    assert (images[:, 3, 3, 0] % 3 == labels).all()
    assert icons.evaluation_split() == "validation"


@pytest.mark.parametrize("folder", ["tiny_photos/1.0.0", "tiny_photos"])
def test_a_prepared_folder(tfds_dir, photos, folder):
    source = open_source(str(tfds_dir / folder))
    assert levels(source.examples("train")) == levels(photos.examples("train"))


def test_a_version_in_the_name(tfds_dir):
    assert open_source("tiny_photos:1.0.0", str(tfds_dir)).split_size("test") == NUM_TEST


def test_two_prepared_versions_must_be_told_apart(tfds_dir, tmp_path):
    for version in ("1.0.0", "2.0.0"):
        shutil.copytree(tfds_dir / "tiny_photos" / "1.0.0", tmp_path / version)
    with pytest.raises(UserError, match="several prepared versions; name one: .*1.0.0, .*2.0.0"):
        open_source(str(tmp_path))


def test_an_unknown_name_lists_the_nearest(tmp_path):
    with pytest.raises(UserError, match="Unknown dataset 'cifar11'.*cifar10"):
        open_source("cifar11", str(tmp_path))


def test_a_folder_without_the_dataset(tmp_path):
    with pytest.raises(
        UserError,
        match=r"No prepared 'cifar10' in .*cifar10/<version>/dataset_info"
        r".json\); give --data_dir .* or --download",
    ):
        open_source("cifar10", str(tmp_path))


def test_a_data_dir_that_does_not_exist():
    with pytest.raises(UserError, match="--data_dir='/no/such' is not a folder"):
        open_source("cifar10", "/no/such")


def test_community_namespaces_are_refused(tmp_path):
    with pytest.raises(UserError, match="community namespace, which TFDS reads from the network"):
        open_source("huggingface:mnist", str(tmp_path))


def test_a_dataset_without_images_to_classify(tfds_dir):
    with pytest.raises(UserError, match="not for image classification.*has label, picture"):
        open_source("tiny_pictures", str(tfds_dir))


def test_unknown_split(photos):
    with pytest.raises(UserError, match="'tiny_photos' has no split 'dev'; it has test, train"):
        photos.split_size("dev")


def test_files_that_are_missing_or_damaged(tfds_dir, tmp_path):
    folder = shutil.copytree(tfds_dir / "tiny_photos" / "1.0.0", tmp_path / "1.0.0")
    (record,) = folder.glob("*train*")
    content = bytearray(record.read_bytes())
    content[len(content) // 2] ^= 0xFF
    record.write_bytes(content)
    source = open_source(str(folder))

    def read():
        return list(batches.readable(source, batches.evaluation_batches(source, "train", 4, 8)))

    with pytest.raises(UserError, match="cannot be read: .*corrupted record"):
        read()
    record.unlink()
    with pytest.raises(UserError, match="cannot be read: .*No such file"):
        read()


def test_metadata_that_is_damaged(tfds_dir, tmp_path):
    folder = shutil.copytree(tfds_dir / "tiny_photos" / "1.0.0", tmp_path / "1.0.0")
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(UserError, match="cannot be opened"):
        open_source(str(folder))


def test_real_datasets_are_read(shared_data):
    """Stock TFDS names on real files."""
    data_dir = str(shared_data / "tfds")
    imagenet = open_source("imagenet2012", data_dir)
    assert imagenet.num_classes == 1000 and imagenet.labels[0] == "n01440764"
    labels = list(imagenet.labels_in_order("train")) + list(imagenet.labels_in_order("validation"))
    assert len(labels) == len(set(labels)) == 600
    cifar = open_source("cifar10", data_dir)
    assert isinstance(cifar, ArraySource) and cifar.image_size == 32
    assert np.bincount(list(cifar.columns("test")[1])).tolist() == [1000] * 10
