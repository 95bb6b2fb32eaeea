"""Processes that share an evaluation find what one finds, image for image."""

import threading

import numpy as np
import pytest

from export.evaluate_config import EvaluateConfig
from export.model_accuracy import measure_images, prepare
from export.tally import Tally
from nas_tf.data import batches
from nas_tf.data.config import DataConfig, Part
from nas_tf.data.opening import open_config
from nas_tf.data.preprocess import to_network_input
from nas_tf.distribute.shards import own_batches
from nas_tf.distribute.workers import ALONE, Alone, own_share
from nas_tf.network.build import build_network
from nas_tf.network.model_folder import ModelDescription, save_model
from nas_tf.space.architecture import from_string
from tests.distribute.equal_steps import Member, Together

TIMES = {"seconds", "images_per_second"}


class Process(Member, Alone):
    """A thread that stands for a process; what is agreed on is the same here."""


def by_processes(count: int, work) -> list:
    """What `work(workers)` returns in each of so many threads, which meet where anything is gathered."""
    together, found, errors = Together(count), [None] * count, []

    def one(rank):
        found[rank] = work(Process(together, rank))

    threads = [threading.Thread(target=together.run, args=(r, one, errors)) for r in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    return found


@pytest.mark.parametrize(
    "images", [3, 24, 61]
)  # fewer than processes have, whole batches, and a last smaller one
def test_a_shared_tally_is_that_of_one_process(images):
    rng, outputs = np.random.default_rng(images), np.array([3, 1, 2])
    scores, labels = rng.normal(size=(images, 4)), rng.integers(0, 3, images)
    parts = [(scores[i : i + 4], labels[i : i + 4]) for i in range(0, images, 4)]

    def tally(workers):
        found = Tally(outputs, 4)
        for part in own_share(parts, workers):
            found.add(*part)
        found.share(4, workers)
        return found

    whole = tally(ALONE)
    for found in by_processes(3, tally):
        assert np.array_equal(found.labels, labels) and np.array_equal(found.answers, whole.answers)
        assert np.array_equal(found.right, whole.right) and found.top1 == whole.top1
        assert found.facts("abc") == whole.facts("abc")


@pytest.mark.parametrize("part", ["test[:50]", Part("test[:90]", tuple(range(5, 55)), False)])
def test_batches_are_dealt_out_in_turn(part):
    source = open_config(DataConfig("digits"))

    def read(workers):
        rows = own_batches(8, workers)
        return [
            (images.numpy().tobytes(), labels.numpy().tolist())
            for images, labels in batches.evaluation_batches(source, part, 8, 16, rows=rows)
        ]

    every = read(ALONE)
    assert [len(labels) for _, labels in every] == [8] * 6 + [2]
    assert by_processes(3, read) == [every[rank::3] for rank in range(3)]


def test_an_evaluation_by_two_and_three_processes_is_that_of_one(tmp_path):
    network, labels = from_string("s8x2 1_3c8 3_3c8x2 h16"), tuple("0123456789")
    model = build_network(network, 16, 10)
    ((images, _),) = batches.evaluation_batches(open_config(DataConfig("digits")), "train[:64]", 64, 16)
    for _ in range(40):  # so that batch norm knows them; as it is made, it gives all images one answer
        model(to_network_input(images), training=True)
    save_model(tmp_path / "net", model, ModelDescription("float", network, 16, 10, labels, 16))
    config = EvaluateConfig(DataConfig("digits"), split="test[:90]", batch_size=16)
    path = str(tmp_path / "net")

    def evaluated(workers):
        summary, tally = measure_images(path, config, prepare(path, config), workers)
        return {k: v for k, v in summary.items() if k not in TIMES}, tally.answers.tolist()

    whole = evaluated(ALONE)
    assert whole[0]["num_examples"] == 90 and len(set(whole[1])) > 1
    for count in (2, 3):
        assert by_processes(count, evaluated) == [whole] * count
