"""The background class: the paper's choice, and its margin proven on integers."""

import numpy as np
import pytest

from export import background
from export.background import MIN_MARGIN_STEPS, Background, Classifier
from nas_tf.base.errors import UserError
from quant.flatbuffer import Tensor


def tensor(dtype, values=None, scales=(0.1,), shape=None):
    shape = values.shape if values is not None else shape
    zero_points = np.zeros(len(scales), np.int64)
    return Tensor(0, "t", dtype, shape, np.array(scales), zero_points, 0, values)


def classifier(bias, scales=(0.02, 0.02, 0.03), rows=None, dtype="int8"):
    weights = np.array(rows if rows is not None else [[3, -4], [3, -4], [5, 6]], dtype)
    return Classifier(
        tensor("int8", scales=(0.01,), shape=(1, 2)),
        tensor(dtype, weights, scales),
        tensor("int32", np.array(bias, np.int32)),
        tensor("int8", scales=(0.05,), shape=(1, 3)),
    )


def test_choice_is_the_papers():
    biases = np.array([0.3, -0.5, 0.2, 0.9, 0.4], np.float32)
    chosen = [background.choose(biases, seed) for seed in range(200)]
    assert {c.source for c in chosen} == {0, 2, 3, 4}  # every class but the one of smallest bias
    assert {c.bias for c in chosen} == {-0.5}
    assert background.choose(biases, 7) == background.choose(biases, 7)


def test_equal_biases_still_leave_a_gap_in_float():
    chosen = background.choose(np.zeros(4, np.float32), 0)
    assert chosen.bias == pytest.approx(-background.FLOAT_STEP * MIN_MARGIN_STEPS, rel=0.05)


def test_one_class_is_refused():
    with pytest.raises(UserError, match="at least 2 classes, not 1"):
        background.choose(np.zeros(1), 0)
    assert background.choose(np.array([0.5, -0.5], np.float32), 0).source == 0  # two are enough


def test_background_logit_is_the_sources_minus_the_gap():
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(1, 1, 6, 5)), rng.normal(size=5)
    chosen = background.choose(bias, 3)
    wide = background.extend(kernel, chosen, is_bias=False)[0, 0]
    logits = rng.normal(size=(100, 6)) @ wide + background.extend(bias, chosen, is_bias=True)
    gap = bias[chosen.source] - bias.min()
    np.testing.assert_allclose(logits[:, 1 + chosen.source] - logits[:, 0], gap, atol=1e-12)
    assert gap > 0 and (logits.argmax(1) > 0).all()


def test_margin_is_the_bias_gap_in_output_steps():
    # (250 - 0) · 0.01 · 0.02 / 0.05 = 1
    assert background.margin_steps(classifier([0, 250, 7]), 0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "broken, message",
    [
        (classifier([0, 250, 7], rows=[[3, -4], [3, -5], [5, 6]]), "weights differ"),
        (classifier([0, 250, 7], scales=(0.02, 0.021, 0.03)), "weight scale differs"),
        (classifier([0, 250, 7], dtype="int16"), "int16 weights"),
    ],
)
def test_nothing_is_proven_from_unequal_rows(broken, message):
    with pytest.raises(UserError, match=message):
        background.margin_steps(broken, 0)


@pytest.mark.parametrize("steps", [0.0, 1.0, -3.0, float("nan")])
def test_a_small_margin_is_refused(steps):
    with pytest.raises(UserError, match="under its source class"):
        background.require_margin(steps)


def rescale(accumulators, multiplier):
    """TFLite's int32 → int8 rescaling: fixed-point product rounded, then a rounding shift."""
    mantissa, exponent = np.frexp(multiplier)
    fixed = np.int64(np.round(mantissa * 2**31))
    product = accumulators.astype(np.int64) * fixed
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = np.sign(nudged) * (np.abs(nudged) >> 31)  # a division that truncates toward zero
    shift = -exponent
    remainder = high & ((1 << shift) - 1)
    threshold = ((1 << shift) >> 1) + (high < 0)
    return (high >> shift) + (remainder > threshold)


@pytest.mark.parametrize("seed", range(5))
def test_the_required_margin_survives_tflites_rounding(seed):
    """With the margin no accumulator ties; with half a step about half of them do."""
    rng = np.random.default_rng(seed)
    multiplier = float(np.exp(rng.uniform(np.log(1e-5), np.log(2e-2))))
    source = rng.integers(-int(100 / multiplier), int(100 / multiplier), 20_000)
    enough = int(np.ceil(MIN_MARGIN_STEPS / multiplier))
    assert (rescale(source, multiplier) - rescale(source - enough, multiplier) >= 1).all()
    half = int(0.5 / multiplier)
    ties = rescale(source, multiplier) == rescale(source - half, multiplier)
    assert 0.4 < ties.mean() < 0.6


def test_lowered_reaches_the_margin_and_never_raises():
    for margin in (MIN_MARGIN_STEPS, background.DEFAULT_MARGIN_STEPS):
        low = background.lowered(Background(2, 0.1), 0.12, 0.05, margin)
        assert margin <= (0.12 - low.bias) / 0.05 <= 1.05 * margin
    assert background.lowered(Background(2, -5.0), 0.12, 0.05).bias == -5.0


@pytest.mark.parametrize("kind", ["float_folder", "qat_folder"])
def test_a_keras_model_with_background_keeps_its_logits(kind, request, noise_images):
    from export.convert_run import load_model

    model, _ = load_model(str(request.getfixturevalue(kind)))
    x = (noise_images(64, seed=5).astype(np.float32) - 128) / 128
    biases = background.classifier_biases(model)
    expected = model(x).numpy()
    choices = [background.choose(biases, seed) for seed in range(8)]
    wider = background.with_background(model, choices[0])
    for chosen in choices:
        background.refill(wider, model, chosen)
        logits = wider(x).numpy()
        np.testing.assert_array_equal(logits[:, 1:], expected)
        assert (logits.argmax(1) > 0).all()
