"""What a fine-tuning says against its own result."""

import dataclasses

import numpy as np
import pytest
import tf_keras as keras

from export.pipeline_run import KEY_FIGURES
from nas_tf.base.errors import UserError
from nas_tf.network import model_folder
from nas_tf.network.build import build_network
from nas_tf.space.architecture import from_string
from quant import doubts
from quant.finetune_run import run_finetune
from tests.quant.test_finetune_run import SMALL

LIVE = {"a": (-1.0, 2.0), "b": (0.0, 0.5)}
LABELS = np.arange(100) % 10
RIGHT = np.eye(10)[LABELS]
ALWAYS_ONE = np.eye(10)[np.ones(100, int)]


def test_nothing_is_said_of_a_network_that_knows_something():
    assert doubts.warning(LIVE, RIGHT, RIGHT, LABELS) == {}


def test_quantization_that_left_nothing():
    said = doubts.warning(LIVE, RIGHT, ALWAYS_ONE, LABELS)["warning"]
    assert said.startswith("top-1 after quantization of 10.0% on 100 images is not above what guessing")
    assert "--finetune_calibration_images" in said


def test_a_float_network_that_knew_nothing_is_to_blame_itself():
    said = doubts.warning(LIVE, ALWAYS_ONE, ALWAYS_ONE, LABELS)["warning"]
    assert said.startswith("top-1 of the float network of 10.0%") and "after quantization" not in said


def test_layers_that_let_nothing_pass_are_named():
    dead = {f"d{i}": (0.0, 0.0) for i in range(5)}
    assert doubts.dead_tensors(LIVE | dead) == list(dead)
    said = doubts.warning(LIVE | dead, RIGHT, RIGHT, LABELS)["warning"]
    assert said.startswith("the output of d0, d1, d2 and 2 more is 0 on all calibration images")


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_a_network_of_which_nothing_reaches_the_classifier_is_refused(tmp_path, method):
    """The head's batch norm shifted so far down that its ReLU is 0 for every image."""
    architecture = from_string("s8x2 1_3c8 h24")
    network = build_network(architecture, 8, 10)
    network.get_layer("head_bn").beta.assign(np.full(24, -1e3, np.float32))
    described = model_folder.ModelDescription("float", architecture, 8, 10, tuple("0123456789"), 8)
    model_folder.save_model(tmp_path / "model", network, described)
    config = dataclasses.replace(SMALL, model=str(tmp_path / "model"), steps=0, range_method=method)
    with pytest.raises(UserError, match="is dead: the output of head_relu, .*is 0 on all .*; train"):
        run_finetune(str(tmp_path / "run"), config)
    assert not (tmp_path / "run/finetune/summary.json").exists()


def test_a_branch_that_is_dead_beside_a_shortcut_is_said_and_no_more():
    doubts.require_alive({"block": (0.0, 0.0), "add": (-1.0, 1.0), "pool": (0.0, 1.0), "logits": (-1.0, 1.0)})


def test_the_stage_says_it_loudly_and_the_pipeline_repeats_it(tmp_path, capsys):
    """Weights that nobody trained."""
    keras.utils.set_random_seed(0)
    architecture = from_string("s8x2 1_3c8 h24")
    described = model_folder.ModelDescription("float", architecture, 8, 10, tuple("0123456789"), 8)
    model_folder.save_model(tmp_path / "model", build_network(architecture, 8, 10), described)
    config = dataclasses.replace(SMALL, model=str(tmp_path / "model"), steps=0, rounding="nearest")
    summary = run_finetune(str(tmp_path / "run"), config)
    assert summary["warning"].startswith("top-1 of the float network of ")
    assert f"finetune: WARNING: {summary['warning']}\n" in capsys.readouterr().err
    assert "warning" in KEY_FIGURES["finetune"]
