"""Channels whose weights are tiny and whose bias is not: the bias has to fit 32 bits."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from nas_tf.base.errors import UserError
from quant import bias, flatbuffer, ranges, scheme
from quant.accumulator import ROOM, steps_needed
from quant.audit_keras import audit_keras
from quant.audit_tflite import audit_flatbuffer
from quant.comparison import snr_db
from quant.distillation import FineTuner, LossShares
from quant.integer_model import IntegerModel
from quant.parity_layers import compare_layers
from quant.quantizer_list import feeding_range, kernel_ranges

layers = keras.layers
PIXELS = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3)).astype(np.uint8)
INPUTS = ((PIXELS - 128.0) / 128).astype(np.float32)
# Factor of one channel's batch-norm gamma, and the bias that is left of it.
CASES = [(1e-4, 3.0), (1e-6, 3.0), (1e-9, 3.0), (0.0, 3.0), (0.0, 0.0)]


def network(gamma: float, shift: float) -> keras.Model:
    """Convolution and depthwise convolution, one channel of each as given."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="first")(image)
    x = layers.ReLU(6.0)(layers.BatchNormalization(name="first_bn")(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="second")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(name="second_bn")(x))
    x = layers.Conv2D(4, 1, name="logits")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    model = keras.Model(image, layers.Flatten()(x))
    random = np.random.default_rng(1)
    for name in ("first_bn", "second_bn"):
        gammas, betas = random.uniform(0.5, 1, 8), random.uniform(0, 0.5, 8)
        gammas[2], betas[2] = gamma, shift
        model.get_layer(name).set_weights([gammas, betas, np.zeros(8), np.ones(8)])
    model.get_layer("logits").set_weights([random.normal(size=(1, 1, 8, 4)), random.normal(size=4)])
    return model


@pytest.fixture(params=CASES, name="calibrated", scope="module")
def calibrated_fixture(request):
    """(fake-quantized network with ranges, folded float network)."""
    qat_model, folded, _ = scheme.quantize(network(*request.param))
    ranges.calibrate(folded, qat_model, [INPUTS])
    return qat_model, folded


def convert(qat_model) -> bytes:
    """The int8 file."""
    from export.converter import convert_keras

    return convert_keras(qat_model, "uint8", "uint8", quantized=True)


def biases_of(content: bytes) -> np.ndarray:
    """Every int32 bias of the file's convolutions."""
    graph = flatbuffer.parse(content).main
    return np.concatenate(
        [graph.tensors[op.inputs[2]].values for op in graph.operators if "CONV" in op.name]
    ).astype(np.int64)


def test_the_file_is_the_simulation_and_near_the_float_network(calibrated):
    qat_model, folded = calibrated
    content = convert(qat_model)
    rows = compare_layers(qat_model, content, PIXELS)
    assert {row.layer: row.integer for row in rows} == {row.layer: 0.0 for row in rows}
    logits = IntegerModel(qat_model)(INPUTS).numpy()
    # Rounding alone leaves over 30 dB here; a clipped bias left 12, a zero step NaN.
    assert snr_db(folded(INPUTS).numpy(), logits) > 30
    assert np.abs(biases_of(content)).max() <= ROOM * (1 + 1e-6)


def test_no_audit_takes_such_a_channel_for_a_kernel_rounded_per_tensor(calibrated):
    qat_model, _ = calibrated
    audit = audit_flatbuffer(flatbuffer.parse(convert(qat_model)), "file")
    assert all(kernel.per_channel for kernel in audit.kernels) and len(audit.kernels) == 3
    assert all(kernel.per_channel for kernel in audit_keras(qat_model, "graph").kernels)


def test_rounding_to_the_grid_keeps_simulation_and_file_equal(calibrated):
    qat_model, folded = calibrated
    bias.round_to_grid(qat_model)
    assert snr_db(folded(INPUTS).numpy(), IntegerModel(qat_model)(INPUTS).numpy()) > 30
    rows = compare_layers(qat_model, convert(qat_model), PIXELS)
    assert max(row.integer for row in rows) == 0.0


def test_training_does_not_blow_such_a_channel_up():
    qat_model, folded, _ = scheme.quantize(network(1e-6, 3.0))
    ranges.calibrate(folded, qat_model, [INPUTS])
    tuner = FineTuner(folded, qat_model, LossShares(1.0, 1.0))
    for _ in range(3):
        tuner.step(tf.constant(PIXELS), tf.zeros([32], tf.int64), 0.01)
    first = kernel_ranges(qat_model)[0]
    steps = np.abs(first.kernel.numpy() / first.scales).reshape(-1, 8).max(axis=0)
    assert steps[2] < 2  # 1e-6 of a weight is about one of the bias's steps, not 127
    assert np.delete(steps, 2).min() > 126.9


def test_steps_needed_by_hand():
    # |bias| / (s_in · s) ≤ 2^30, and at least an output step of 0.5.
    needed = steps_needed(np.array([-4.0, 0.0, 0.25]), 0.25, 0.5)
    np.testing.assert_allclose(needed, np.array([16.0, 2.0, 2.0]) / 2**30)


def test_what_still_does_not_fit_is_refused():
    qat_model, folded, _ = scheme.quantize(network(1e-6, 3.0))
    ranges.calibrate(folded, qat_model, [INPUTS])
    first = kernel_ranges(qat_model)[0]
    bias.require_biases_fit(qat_model)
    # As an older version left it: the range of the tiny weights themselves.
    first.fit()
    steps = 3.0 / (feeding_range(qat_model, first.layer).scale * first.scales[2])
    with pytest.raises(UserError, match="bias of 'first' takes .* accumulator") as refusal:
        bias.require_biases_fit(qat_model)
    assert f"{steps:.3g}" in str(refusal.value)
    first.bias.assign(tf.fill([8], np.nan))
    with pytest.raises(UserError, match="bias of 'first' takes inf steps"):
        bias.require_biases_fit(qat_model)
