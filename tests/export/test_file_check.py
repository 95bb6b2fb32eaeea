"""A file that does not compute what its network does is refused, whatever the reason."""

import pathlib

import numpy as np
import pytest

from export import convert_run, converter, file_check
from export.convert_run import ConvertConfig, run_convert
from nas_tf.base.errors import UserError
from quant import flatbuffer


def changed_bias(content: bytes, steps: int) -> bytes:
    """The file with `steps` added to the accumulator of one channel of its first convolution."""
    graph = flatbuffer.parse(content).main
    bias = next(graph.tensors[o.inputs[2]] for o in graph.operators if o.name == "CONV_2D")
    before = bias.values.tobytes()
    assert content.count(before) == 1
    values = bias.values.copy()
    values[1] += steps
    return content.replace(before, values.tobytes())


@pytest.mark.parametrize("types", [("uint8", "uint8"), ("int8", "float32"), ("float32", "int8")])
def test_file_and_simulation_are_equal_and_the_summary_says_so(qat_folder, tmp_path, types):
    summary = run_convert(
        str(tmp_path), ConvertConfig(model=str(qat_folder), input_type=types[0], output_type=types[1])
    )
    assert summary["checked_images"] == 16
    assert summary["checked_agreement"] == 1.0 and summary["checked_differing"] == 0.0
    assert summary["checked_snr_db"] is None
    facts = convert_run.facts_for_people(summary)
    assert facts["against its network, 16 synthetic images"] == (
        "100% of the answers agree, all logits are equal"
    )


def test_a_float_file_is_compared_with_the_float_network(float_folder, tmp_path):
    summary = run_convert(
        str(tmp_path), ConvertConfig(model=str(float_folder), input_type="float32", output_type="float32")
    )
    assert summary["checked_agreement"] == 1.0 and summary["checked_snr_db"] > 90


@pytest.mark.parametrize("kind", ["qat", "float"])
def test_a_file_that_computes_something_else_is_refused_and_nothing_written(
    qat_folder, float_folder, tmp_path, monkeypatch, kind
):
    original = converter.convert_keras

    def wrong(model, *arguments):
        kernel = next(w for w in model.weights if w.shape.rank == 4)
        before = kernel.numpy()
        kernel.assign(before * 0.98)
        try:
            return original(model, *arguments)
        finally:
            kernel.assign(before)

    monkeypatch.setattr(converter, "convert_keras", wrong)
    config = (
        ConvertConfig(model=str(qat_folder))
        if kind == "qat"
        else ConvertConfig(model=str(float_folder), input_type="float32", output_type="float32")
    )
    with pytest.raises(UserError, match="does not compute what its network does: on 16 synthetic"):
        run_convert(str(tmp_path / "run"), config)
    assert not list(pathlib.Path(tmp_path).rglob("*.tflite"))
    assert not list(pathlib.Path(tmp_path).rglob("labels.txt"))
    assert not (tmp_path / "run" / "convert" / "summary.json").exists()


def test_one_wrong_bias_is_seen(qat_folder):
    from quant.model import load_qat_model

    model, _ = load_qat_model(qat_folder)
    content = converter.convert_keras(model, "uint8", "uint8", True)
    assert file_check.compare_with_network(content, model, True)["checked_differing"] == 0.0
    clipped = changed_bias(content, -3000)
    with pytest.raises(UserError, match=r"of the logits differ \(.* dB\)"):
        file_check.compare_with_network(clipped, model, True)


def test_a_bias_that_32_bits_do_not_hold_is_refused_before_the_converter_clips_it(save_quantized, tmp_path):
    from nas_tf.network import model_folder
    from quant.model import load_qat_model
    from quant.quantizer_list import kernel_ranges

    folder = save_quantized(tmp_path / "model", lambda model: None)
    model, description = load_qat_model(folder)
    entry = kernel_ranges(model)[0]
    kernel = entry.kernel.numpy()
    kernel[..., 2] *= 1e-7
    entry.kernel.assign(kernel)
    entry.bias.assign(np.where(np.arange(8) == 2, 3.0, entry.bias.numpy()))
    entry.fit()  # the range of the tiny weights, as an older version left it
    model_folder.save_model(folder, model, description)
    with pytest.raises(UserError, match="bias of 'stem_conv' takes .* steps of the int8 kernel's"):
        run_convert(str(tmp_path / "run"), ConvertConfig(model=str(folder)))
    assert not list(pathlib.Path(tmp_path).rglob("*.tflite"))


def test_weights_halfway_between_two_integers_are_no_reason_to_refuse(save_quantized, tmp_path):
    """A model that was never put on its grid: converter and simulation would break ties apart."""

    def halfway(model):
        kernel = model.get_layer("block1_expand_conv").kernel
        values = np.random.default_rng(0).integers(-20, 20, kernel.shape) + 0.5
        values[..., 0, :] = 127.0  # an int8 step of one
        kernel.assign(values / 127)
        norm = model.get_layer("block1_expand_bn")
        norm.set_weights([np.ones(24), np.linspace(-1, 1, 24), np.zeros(24), np.full(24, 1 - norm.epsilon)])

    folder = save_quantized(tmp_path / "model", halfway)
    summary = run_convert(str(tmp_path / "run"), ConvertConfig(model=str(folder)))
    assert summary["checked_differing"] == 0.0


def test_equal_biases_of_a_convolution_are_converted_rightly_or_refused(save_quantized, tmp_path):
    """The converter gives a bias that is one number for all channels the first channel's scale."""

    def flatten(model):
        model.get_layer("stem_bn").beta.assign(np.full(8, 0.3))
        model.get_layer("stem_bn").moving_mean.assign(np.zeros(8))

    folder = save_quantized(tmp_path / "model", flatten)
    from quant.model import load_qat_model

    model, _ = load_qat_model(folder)
    with pytest.raises(UserError, match="does not compute what its network does"):
        file_check.compare_with_network(converter.convert_keras(model, "uint8", "uint8", True), model, True)
    # Each on its own channel's grid, they are no longer one number.
    summary = run_convert(str(tmp_path / "run"), ConvertConfig(model=str(folder)))
    assert summary["checked_differing"] == 0.0


def test_synthetic_images_are_of_every_kind_and_the_same_each_time():
    images = file_check.synthetic_images(16, 24)
    assert images.shape == (16, 24, 24, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(images, file_check.synthetic_images(16, 24))
    neighbours = np.abs(np.diff(images.astype(int), axis=2)).mean(axis=(1, 2, 3))
    assert neighbours.min() < 8 and neighbours.max() > 30  # smooth ones and noisy ones
    assert images.min() == 0 and images.max() == 255
