"""`run_parity` from a model folder, its file and a dataset, and what it refuses."""

import dataclasses

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.data.config import DataConfig
from nas_tf.network import model_folder
from quant.model import build_qat_model, empty_qat_model, load_qat_model, quantized_description
from quant.parity_config import RUNTIMES, ParityConfig
from quant.parity_run import run_parity
from quant.quantizer_list import activation_ranges


@pytest.fixture(scope="module", name="saved")
def saved_fixture(converted, description, tmp_path_factory):
    """A folder with the fake-quantized model, its file and ten images of its classes."""
    from PIL import Image

    root = tmp_path_factory.mktemp("parity")
    qat_model, content = converted
    model_folder.save_model(root / "model", qat_model, quantized_description(description))
    (root / "m.tflite").write_bytes(content)
    random = np.random.default_rng(0)
    for split in ("train", "validation"):
        for name in description.labels:
            folder = root / "images" / split / name
            folder.mkdir(parents=True)
            for index in range(2):
                pixels = random.integers(0, 256, (16, 16, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


@pytest.fixture(name="config")
def config_fixture(saved):
    return ParityConfig(
        str(saved / "model"), str(saved / "m.tflite"), DataConfig(str(saved / "images")), num_images=6
    )


def test_integers_are_equal_and_the_figures_are_of_the_last_layer(config):
    result = run_parity(config)
    figures = result.figures
    assert (figures["images"], figures["runtime"], figures["layers"]) == (6, "xnnpack", len(result.rows))
    assert figures["integer_layers_equal"] == figures["layers"] and figures["logits_integer_differing"] == 0
    assert (
        figures["snr_db"] == result.rows[-1].snr_db
        and figures["logits_differing"] == result.rows[-1].differing
    )
    assert result.rows[-1].size == 6 * 5
    first = next((row.layer for row in result.rows if row.differing > 0), "none")
    assert figures["first_difference"] == first and result.table.count("\n") == len(result.rows)


def test_runtime_and_file_are_looked_at_before_the_model_is_opened(config, tmp_path):
    (tmp_path / "no.tflite").write_bytes(b"no flatbuffer")
    absent = dataclasses.replace(config, model="/nowhere/model")
    with pytest.raises(UserError, match="Unknown runtime 'neon'; allowed: xnnpack, builtin"):
        run_parity(dataclasses.replace(absent, runtime="neon"))
    with pytest.raises(UserError, match="model .* is not a TensorFlow Lite file"):
        run_parity(dataclasses.replace(absent, tflite=str(tmp_path / "no.tflite")))
    with pytest.raises(UserError, match="Cannot read the model '/nowhere.tflite': No such file"):
        run_parity(dataclasses.replace(absent, tflite="/nowhere.tflite"))


def test_what_does_not_fit_is_refused(config):
    with pytest.raises(UserError, match="has 5 classes, but the dataset 'digits' has 10"):
        run_parity(dataclasses.replace(config, data=DataConfig("digits")))
    assert RUNTIMES[0] == ParityConfig("", "", config.data).runtime == "xnnpack"


def test_a_folder_reloads_to_the_bit(converted, saved):
    found, held = load_qat_model(saved / "model")
    assert held.kind == "qat" and held.quantization["fold_batch_norm"] is True
    for wanted, weight in zip(converted[0].get_weights(), found.get_weights(), strict=True):
        np.testing.assert_array_equal(wanted, weight)


def test_an_empty_model_has_the_shapes_and_unset_ranges(converted, description):
    empty = empty_qat_model(quantized_description(description))
    assert [w.shape for w in empty.get_weights()] == [w.shape for w in converted[0].get_weights()]
    assert {r.value for r in activation_ranges(empty) if r.fixed is None} == {(0.0, 0.0)}


def test_without_folding_batch_norms_stay(float_network, description):
    import tf_keras as keras

    kept = build_qat_model(float_network, quantized_description(description, fold=False))
    norms = [
        la for la in kept.layers if isinstance(getattr(la, "layer", la), keras.layers.BatchNormalization)
    ]
    count = sum(isinstance(la, keras.layers.BatchNormalization) for la in float_network.layers)
    assert len(norms) == count > 0


def test_another_scheme_and_float_folders_are_refused(converted, float_network, description, tmp_path):
    other = dataclasses.replace(description, kind="qat", quantization={"scheme": "someone's/9"})
    model_folder.save_model(tmp_path / "other", converted[0], other)
    with pytest.raises(
        UserError, match="by the scheme \"someone's/9\"; this version reads 'per-channel-int8/1'"
    ):
        load_qat_model(tmp_path / "other")
    model_folder.save_model(tmp_path / "float", float_network, description)
    with pytest.raises(
        UserError, match="holds a float model; a fine-tuned .* run quant.finetune on it first"
    ):
        load_qat_model(tmp_path / "float")
