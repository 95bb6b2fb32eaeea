"""Every command that reads images, on a streamed dataset of several files, as a user runs it.

The commands get what they must be given and what keeps them short, and else their default flags,
among them --seed.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests.search.helpers import write_table

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CLASSES = ("red", "green", "blue")
NUM_TRAIN, NUM_TEST, SHARDS = 54, 12, 4
SMALL = ("--resolution=32",)
# 2 blocks, so that a network is made and converted within seconds.
ARCHITECTURE = "--architecture=s8x2 1_3c8 3_3c16x2 h16"
TRAIN = ("nas_tf.train", ARCHITECTURE, "--epochs=1", "--batch_size=27", *SMALL)


def photos(count, seed):
    """Images of different sizes, in which the channel of the class is the brightest."""
    random = np.random.default_rng(seed)
    for i in range(count):
        image = random.integers(0, 128, (36 + i % 5, 44, 3), np.uint8)
        image[..., i % 3] += 128
        yield f"{seed}-{i}", {"image": image, "label": i % 3}


@pytest.fixture(scope="module", name="dataset")
def _dataset(tmp_path_factory) -> str:
    """Folder of a dataset that TFDS prepared in several files, too uneven to be kept in memory."""
    import tensorflow_datasets as tfds

    root = tmp_path_factory.mktemp("tfds")
    tfds.dataset_builders.store_as_tfds_dataset(
        name="shards",
        version="1.0.0",
        data_dir=root,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=CLASSES),
            }
        ),
        split_datasets={"train": list(photos(NUM_TRAIN, 0)), "test": list(photos(NUM_TEST, 1))},
        download_config=tfds.download.DownloadConfig(num_shards=SHARDS),
    )
    folder = root / "shards" / "1.0.0"
    assert len(list(folder.glob("*train.tfrecord*"))) == SHARDS
    return str(folder)


def run(module, *arguments):
    """Runs a command to its success; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def summary(workdir, stage):
    return json.loads((pathlib.Path(workdir) / stage / "summary.json").read_text())


@pytest.fixture(scope="module", name="workdir")
def _workdir(dataset, tmp_path_factory) -> str:
    """Run folder of a trained network."""
    folder = str(tmp_path_factory.mktemp("run"))
    run(*TRAIN, f"--workdir={folder}", f"--dataset={dataset}")
    return folder


def test_train(workdir):
    facts = summary(workdir, "train")
    assert (facts["train_images"], facts["eval_images"], facts["steps"]) == (NUM_TRAIN, NUM_TEST, 2)


def test_search(dataset, tmp_path):
    table = write_table(tmp_path / "table.json", "tiny", 32, len(CLASSES))
    run(
        "nas_tf.search",
        f"--workdir={tmp_path}",
        f"--dataset={dataset}",
        f"--latency_table={table}",
        "--target_latency_ms=0.4",
        "--space=tiny",
        "--search_warmup_epochs=0",
        "--search_epochs=1",
        "--search_held_out=6",
        "--search_batch_size=24",
        "--search_alpha_every=1",
        *SMALL,
    )
    facts = summary(tmp_path, "search")
    assert facts["steps"] == 2 and facts["predicted_latency_ms"] <= 0.4


@pytest.mark.slow
def test_fine_tuning_conversion_and_evaluation(dataset, workdir):
    data = (f"--workdir={workdir}", f"--dataset={dataset}")
    run("quant.finetune", *data, "--steps=2", "--finetune_calibration_images=32")
    run("export.convert", f"--workdir={workdir}")
    run("export.evaluate", *data)
    assert summary(workdir, "finetune")["steps"] == 2
    evaluated = summary(workdir, "evaluate")
    assert evaluated["num_examples"] == evaluated["float"]["num_examples"] == NUM_TEST
    assert "Keras simulation" in run("quant.parity", *data, "--num_images=5")


@pytest.mark.slow
def test_pipeline(dataset, tmp_path):
    run(
        "nas_tf.pipeline",
        f"--workdir={tmp_path}",
        f"--dataset={dataset}",
        ARCHITECTURE,
        "--epochs=1",
        "--batch_size=27",
        "--finetune_calibration_images=32",
        *SMALL,
    )
    assert summary(tmp_path, "pipeline")["evaluate"]["num_examples"] == NUM_TEST


@pytest.mark.slow
def test_the_same_command_sees_the_same_images(dataset, workdir, tmp_path):
    """Another process, with the same seed, ends with the same loss to the last bit."""
    run(*TRAIN, f"--workdir={tmp_path}", f"--dataset={dataset}")
    losses = [
        json.loads((folder / "train" / "metrics.jsonl").read_text().splitlines()[-1])["loss"]
        for folder in (pathlib.Path(workdir), tmp_path)
    ]
    assert losses[0] == losses[1]
