"""Training and evaluation splits that share images are refused, wherever the images lie."""

import pytest

from nas_tf.base.errors import UserError
from nas_tf.data import splits
from nas_tf.data.opening import open_source
from nas_tf.data.overview import check_disjoint, note_shared
from tests.data.conftest import NUM_TRAIN


@pytest.mark.parametrize(
    "first, second, wanted",
    [
        ([("a", 0, 8)], [("a", 5, 10)], [("a", 5, 8)]),
        ([("a", 0, 5)], [("a", 5, 10)], []),
        ([("a", 0, 5)], [("b", 0, 5)], []),
        ([("a", 0, 3), ("b", 0, 9)], [("b", 2, 4), ("a", 2, 3)], [("a", 2, 3), ("b", 2, 4)]),
        ([("a", 4, 4)], [("a", 0, 9)], []),
    ],
)
def test_what_two_splits_share(first, second, wanted):
    assert splits.shared(first, second) == wanted == splits.shared(second, first)


@pytest.fixture(name="source", params=["streamed", "several files", "in memory", "folder", "digits"])
def _source(request, tfds_dir, image_folder):
    """Sources with 23, 23, 23, 20 and 1,437 training images."""
    return {
        "streamed": lambda: open_source("tiny_photos", str(tfds_dir)),
        "several files": lambda: open_source("tiny_shards", str(tfds_dir)),
        "in memory": lambda: open_source("tiny_icons", str(tfds_dir)),
        "folder": lambda: open_source(str(image_folder)),
        "digits": lambda: open_source("digits"),
    }[request.param]()


@pytest.mark.parametrize(
    "train, other",
    [
        ("train[:80%]", "train[50%:]"),
        ("train", "train"),
        ("train[:10]", "train[9:]"),
        ("train[:2]+train[-3:]", "train[-1:]"),
    ],
)
def test_splits_that_overlap(source, train, other):
    with pytest.raises(UserError, match="--train_split=.* and --eval_split=.* share .* images of"):
        check_disjoint(source, ("train_split", train), ("eval_split", other))


@pytest.mark.parametrize(
    "train, other",
    [("train[:80%]", "train[80%:]"), ("train[:10]", "train[10:]"), ("train[:33%]", "train[33%:66%]")],
)
def test_splits_that_do_not(source, train, other):
    check_disjoint(source, ("train_split", train), ("eval_split", other))


def test_the_images_that_are_shared_are_named(tfds_dir):
    photos = open_source("tiny_photos", str(tfds_dir))
    with pytest.raises(UserError) as caught:
        check_disjoint(photos, ("train_split", "train[:20]+test"), ("eval_split", "train[15:]+test[:2]"))
    assert "share 7 images of dataset 'tiny_photos' (test[0:2]+train[15:20])" in str(caught.value)


def test_a_part_in_shards_is_what_lies_in_them(tfds_dir):
    shards = open_source("tiny_shards", str(tfds_dir))
    assert 0 < shards.split_size("train[:2shard]") < NUM_TRAIN
    assert not shards.shared("train[:2shard]", "train[2shard:]")
    assert shards.shared("train[:2shard]", "train[1shard:]")


def test_evaluation_on_training_images_is_said(tfds_dir, capsys):
    photos = open_source("tiny_photos", str(tfds_dir))
    note_shared(photos, "train", "test")
    assert not capsys.readouterr().err
    note_shared(photos, "train", "train[3:9]")
    assert (
        "note: train[3:9] of the split 'train[3:9]' are also in --train_split='train'"
        in capsys.readouterr().err
    )


@pytest.fixture(name="settings")
def _settings(tmp_path):
    """(workdir, the data of commands with splits that overlap)."""
    from nas_tf.data.config import DataConfig

    return str(tmp_path / "run"), DataConfig("digits", train_split="train[:80%]", eval_split="train[50%:]")


def test_training_refuses(settings):
    from nas_tf.data.config import NO_AUGMENTATION
    from nas_tf.train.config import TrainConfig
    from nas_tf.train.run import run_train

    with pytest.raises(UserError, match=r"share 432 images of dataset 'digits' \(train\[718:1150\]\)"):
        run_train(
            settings[0],
            TrainConfig(
                data=settings[1], augmentation=NO_AUGMENTATION, architecture="s8x2 1_3c8 h16", resolution=16
            ),
        )


def test_the_search_refuses(settings, tmp_path):
    from nas_tf.search.config import Budget, SearchConfig
    from nas_tf.search.run import run_search
    from tests.search.helpers import write_table

    table = write_table(tmp_path / "table.json", "tiny", 32, 10)
    with pytest.raises(UserError, match="share 432 images"):
        run_search(
            settings[0],
            SearchConfig(
                data=settings[1], latency_table=table, budget=Budget(0.4), space="tiny", resolution=32
            ),
        )
