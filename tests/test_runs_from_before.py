"""Folders and files written before the rooms of `nas_tf` had their names are read and gone on with.

`fixtures/before_rooms` holds a search killed at step 17 of 21, a training killed at 7 of 10, a fine-tuning
killed at 3 of 4, the summaries of the same runs without a kill, and a model, an architecture and a table.
"""

import dataclasses
import json
import pathlib
import shutil

import pytest

from nas_tf.data.config import NO_AUGMENTATION, Augmentation, DataConfig
from nas_tf.latency.table import load_table
from nas_tf.network.build import count_trainable
from nas_tf.network.model_folder import load_float_model
from nas_tf.search.config import Budget, SearchConfig, SearchSchedule
from nas_tf.search.run import run_search
from nas_tf.space.published import read_architecture
from nas_tf.space.search_space import SPACES
from nas_tf.train.config import TrainConfig, WeightStep
from nas_tf.train.run import run_train
from quant.finetune_config import FinetuneConfig
from quant.finetune_run import run_finetune
from tests.search.helpers import MICRO

OLD = pathlib.Path(__file__).parent / "fixtures" / "before_rooms"
TABLE = str(OLD / "latency_table.json")
SEARCH = SearchConfig(
    DataConfig("digits", train_split="train[:214]"),
    TABLE,
    Budget(0.2),
    NO_AUGMENTATION,
    space="micro",
    resolution=16,
    schedule=SearchSchedule(
        warmup_epochs=1, epochs=2, batch_size=32, alpha_learning_rate=0.1, alpha_every=2, held_out=0.1
    ),
    num_candidates=3,
)
TRAIN = TrainConfig(
    data=DataConfig("digits", train_split="train[:96]", eval_split="test[:40]"),
    augmentation=Augmentation(0.7, False, 0.5),
    architecture="s8x2 1_3c8 3_3c8x2 3_3c8 h16",
    resolution=16,
    epochs=2,
    batch_size=20,
    learning_rate=0.1,
    weights=WeightStep(ema_decay=0.9),
)
FINETUNE = FinetuneConfig(
    data=DataConfig("digits", train_split="train[:128]", eval_split="test[:64]"),
    augmentation=NO_AUGMENTATION,
    model=str(OLD / "model"),
    steps=4,
    batch_size=16,
    calibration_images=32,
)


def expected(stage: str) -> dict:
    """The summary of the run that nothing interrupted, without what depends on time and place."""
    return _lasting(json.loads((OLD / f"expected_{stage}_summary.json").read_text()))


def _lasting(summary: dict) -> dict:
    return {name: v for name, v in summary.items() if name not in ("seconds", "model", "architecture_file")}


def _gone_on(stage: str, tmp_path, run, config) -> dict:
    shutil.copytree(OLD / stage, tmp_path / stage)
    summary = run(str(tmp_path), config)
    found = _lasting(summary)
    return {name: found[name] for name in expected(stage)}


def _assert_same(found: dict, wanted: dict) -> None:
    for name, value in wanted.items():
        assert found[name] == (pytest.approx(value, rel=1e-4) if isinstance(value, float) else value), name


def test_a_search_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SPACES, MICRO.name, MICRO)
    found = _gone_on("search", tmp_path, run_search, dataclasses.replace(SEARCH, checkpoint_minutes=0.0))
    _assert_same(found, expected("search"))
    # It began when nothing was dropped and another objective was the default.
    assert (
        "search: this run was begun by an earlier version and goes on as it began: no candidate is dropped, "
        "--min_budget_share=0, --latency_loss=constrained\n"
    ) in capsys.readouterr().err


def test_a_training_goes_on(tmp_path):
    found = _gone_on("train", tmp_path, run_train, TRAIN)
    _assert_same(found, expected("train"))


def test_a_fine_tuning_goes_on(tmp_path):
    _assert_same(_gone_on("finetune", tmp_path, run_finetune, FINETUNE), expected("finetune"))


def test_an_architecture_and_a_table_are_read():
    architecture = read_architecture(str(OLD / "architecture.json"))
    assert "shortcut" not in (OLD / "architecture.json").read_text()
    assert architecture.to_string() == expected("search")["architecture"]
    # Where nothing is written, the shape decides.
    assert [block.shortcut for block in architecture.blocks] == [True, False, True]
    predicted = load_table(TABLE).predict_ms(architecture, 16, 10)
    assert predicted == pytest.approx(expected("search")["predicted_latency_ms"])


def test_a_model_is_read():
    model, description = load_float_model(OLD / "model")
    assert description.architecture.to_string() == TRAIN.architecture
    assert count_trainable(model) == expected("train")["params"] == 2154
    assert description.labels == tuple("0123456789")
