"""Networks of other forms through all stages: fused and universal bottlenecks, no shortcut, ReLU."""

import pathlib

import numpy as np
import pytest

from export.convert_run import ConvertConfig, run_convert
from nas_tf.data.config import NO_AUGMENTATION, DataConfig
from nas_tf.network.model_folder import load_float_model
from nas_tf.train.config import TrainConfig
from nas_tf.train.run import run_train
from quant import flatbuffer
from quant.audit_tflite import audit_flatbuffer
from quant.finetune_config import FinetuneConfig
from quant.finetune_run import run_finetune
from tests.export.test_convert import run_file

NETWORK = "s8x2 1_3c8 F2_3c16x2 3_3c16_noskip 3_5c16 h24"
UNIVERSAL = "s8x2 C1_3c8x2 U2_35c16x2 U2_50c16 U2_00c16 U3_03c16_noskip h24 f32 relu"
DATA = DataConfig("digits", train_split="train[:128]", eval_split="test[:64]")


def _run(workdir: str, network: str):
    """(folder, summary of the conversion) of a run with its defaults but small."""
    train = TrainConfig(DATA, NO_AUGMENTATION, network, resolution=16, epochs=2, batch_size=32)
    run_train(workdir, train)
    tune = FinetuneConfig(DATA, NO_AUGMENTATION, steps=2, batch_size=16, calibration_images=32)
    run_finetune(workdir, tune)
    return pathlib.Path(workdir), run_convert(workdir, ConvertConfig())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return _run(str(tmp_path_factory.mktemp("forms")), NETWORK)


@pytest.fixture(scope="module")
def universal(tmp_path_factory):
    return _run(str(tmp_path_factory.mktemp("universal")), UNIVERSAL)


def test_only_the_blocks_with_a_shortcut_add(run):
    model, description = load_float_model(run[0] / "train" / "model")
    assert description.architecture.to_string() == NETWORK
    added = [layer.name for layer in model.layers if layer.name.endswith("_add")]
    assert added == ["block0_add", "block3_add"]


def test_the_file_is_integer_and_has_the_same_form(run):
    graph = flatbuffer.read_file(run[1]["output"])
    assert audit_flatbuffer(graph, "file").float_tensors == ()
    names = [operator.name for operator in graph.main.operators]
    # Block 1 is fused, so three of five blocks' convolutions are depthwise.
    assert names.count("ADD") == 2 and names.count("DEPTHWISE_CONV_2D") == 3
    assert run[1]["num_classes"] == 11


def test_universal_bottlenecks_leave_nothing_in_float(universal):
    graph = flatbuffer.read_file(universal[1]["output"])
    assert audit_flatbuffer(graph, "file").float_tensors == ()
    names = [operator.name for operator in graph.main.operators]
    # Start and middle of block 1, start of block 2, middle of block 4; blocks 2 and 3 have a shortcut.
    assert names.count("DEPTHWISE_CONV_2D") == 4 and names.count("ADD") == 2
    # Stem 1, pair 2, bottlenecks 2 each, head, features, classifier: activations are part of them.
    assert names.count("CONV_2D") == 1 + 2 + 4 * 2 + 3 and names.count("MEAN") == 1
    # From uint8 pixels and to uint8 scores, and nowhere between.
    assert names[0] == names[-1] == "QUANTIZE" and names.count("QUANTIZE") == 2
    assert not {"RELU", "RELU6", "DEQUANTIZE"} & set(names)
    assert names[-5:-1] == ["MEAN", "CONV_2D", "CONV_2D", "RESHAPE"]  # features, classifier


@pytest.mark.parametrize("which", ["run", "universal"])
def test_the_file_says_what_the_network_says(which, request):
    run = request.getfixturevalue(which)
    model, _ = load_float_model(run[0] / "train" / "model")
    images = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), np.uint8)
    wanted = model(((images - 128.0) / 128).astype(np.float32)).numpy()
    found = run_file(run[1]["output"], images)[:, 1:].astype(float)
    # Each image's scores go up and down together; the file's are affine in the network's.
    assert np.corrcoef(np.ravel(found), wanted.ravel())[0, 1] > 0.98
