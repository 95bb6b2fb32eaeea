"""The loss in closed form, and steps in units of int8 steps."""

import numpy as np
import pytest
import tensorflow as tf

from quant.distillation import FineTuner, LossShares, distillation_loss, feature_loss, trainable_units
from quant.quantizer_list import following_range, kernel_ranges


def test_equal_logits_have_no_divergence():
    logits, labels = tf.constant([[1.0, 2.0, 3.0]]), tf.constant([0])
    assert float(distillation_loss(logits, logits, labels, 1.0)) == pytest.approx(0.0, abs=1e-6)


def test_the_loss_mixes_divergence_and_cross_entropy():
    teacher, student = tf.math.log([[0.75, 0.25]]), tf.math.log([[0.5, 0.5]])
    divergence = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    entropy = -np.log(0.5)
    for share in (0.0, 0.3, 1.0):
        loss = float(distillation_loss(teacher, student, tf.constant([1]), share))
        assert loss == pytest.approx(share * divergence + (1 - share) * entropy, rel=1e-5)


def test_feature_loss_is_the_mean_noise_to_signal_ratio():
    teacher = [tf.constant([3.0, 4.0]), tf.constant([10.0])]
    student = [tf.constant([3.0, 5.0]), tf.constant([8.0])]
    assert float(feature_loss(teacher, student)) == pytest.approx((1 / 25 + 4 / 100) / 2)


def test_units_are_int8_steps(quantized):
    qat_model, _ = quantized
    weights, units = trainable_units(qat_model)
    assert {w.ref() for w in weights} == {w.ref() for w in qat_model.trainable_weights}
    entry = kernel_ranges(qat_model)[1]
    np.testing.assert_allclose(units[2].ravel(), entry.scales, rtol=1e-6)
    assert float(units[3]) == pytest.approx(following_range(qat_model, entry.layer).scale)


def test_adams_first_step_moves_every_weight_by_the_rate_in_its_unit(quantized, images):
    qat_model, folded = quantized
    tuner = FineTuner(folded, qat_model, LossShares(0.5, 1.0))
    weights, units = trainable_units(qat_model)
    before = [w.numpy() for w in weights]
    pixels = tf.cast(tf.round(images[:8] * 128 + 128), tf.uint8)
    tuner.step(pixels, tf.zeros([8], tf.int64), 0.25)
    for old, weight, unit in zip(before, weights, units):
        moved = np.abs(weight.numpy() - old) / unit
        # Adam's first step is rate · g / (|g| + ε): the rate, unless the gradient is tiny.
        assert moved.max() <= 0.2501
        assert np.median(moved[moved > 1e-3]) == pytest.approx(0.25, rel=0.02)


def test_every_channel_keeps_its_full_range_while_weights_move(quantized, images):
    qat_model, folded = quantized
    tuner = FineTuner(folded, qat_model, LossShares(1.0, 1.0))
    pixels = tf.cast(tf.round(images[:8] * 128 + 128), tf.uint8)
    for _ in range(5):
        tuner.step(pixels, tf.zeros([8], tf.int64), 0.5)
    for entry in kernel_ranges(qat_model):
        steps = np.abs(np.moveaxis(entry.kernel.numpy(), entry.channel_axis, -1)) / entry.scales
        largest = steps.reshape(-1, steps.shape[-1]).max(axis=0)
        assert largest.min() >= 127.0 - 1e-3, entry.source


def test_training_undoes_a_shift_of_the_biases_and_keeps_the_ranges(quantized, images):
    qat_model, folded = quantized
    ranges_before = [w.numpy() for w in qat_model.non_trainable_weights]
    for entry in kernel_ranges(qat_model):
        entry.bias.assign_add(tf.fill(entry.bias.shape, 2.0 * following_range(qat_model, entry.layer).scale))
    tuner = FineTuner(folded, qat_model, LossShares(1.0, 1.0))
    pixels = tf.cast(tf.round(images * 128 + 128), tf.uint8)
    losses = [float(tuner.step(pixels, tf.zeros([24], tf.int64), 0.1)) for _ in range(30)]
    assert np.mean(losses[-3:]) < 0.5 * losses[0]
    for old, new in zip(ranges_before, qat_model.non_trainable_weights):
        np.testing.assert_array_equal(old, new.numpy())
