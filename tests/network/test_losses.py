"""Cross-entropy by its formula, and what counts as correct."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from nas_tf.network.losses import cross_entropy

LOGITS = np.array([[2.0, -1.0, 0.5, 0.0], [0.0, 3.0, 1.0, -2.0], [1.0, 1.5, -0.5, 0.2]], np.float32)
LABELS = np.array([0, 2, 1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_logits_that_say_nothing_cost_the_logarithm_of_the_classes(smoothing):
    """One process may search for datasets of several numbers of classes."""
    for classes in (2, 10, 1000, 10):
        loss, _ = cross_entropy(tf.fill([3, classes], 0.7), tf.constant([0, 1, 1]), smoothing)
        assert float(loss) == pytest.approx(math.log(classes), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_the_loss_is_the_mean_over_smoothed_targets(smoothing):
    losses = []
    for row, label in zip(LOGITS.tolist(), LABELS.tolist()):
        log_p = [x - math.log(sum(math.exp(y) for y in row)) for x in row]
        targets = [(1 - smoothing) * (k == label) + smoothing / 4 for k in range(4)]
        losses.append(-sum(t * x for t, x in zip(targets, log_p)))
    found, _ = cross_entropy(tf.constant(LOGITS), tf.constant(LABELS), smoothing)
    assert float(found) == pytest.approx(sum(losses) / 3, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_is_keras(smoothing):
    ours, _ = cross_entropy(tf.constant(LOGITS), tf.constant(LABELS), smoothing)
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    assert float(ours) == pytest.approx(float(theirs(tf.one_hot(LABELS, 4), LOGITS)), rel=1e-6)


def test_the_gradient_is_probability_minus_target():
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss, _ = cross_entropy(logits, tf.constant(LABELS), 0.2)
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    targets = 0.8 * np.eye(4)[LABELS] + 0.05
    np.testing.assert_allclose(tape.gradient(loss, logits), (p - targets) / 3, atol=1e-6)


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_correct_predictions_are_counted_and_of_equal_logits_the_first_counts(dtype):
    _, hits = cross_entropy(tf.constant(LOGITS), tf.constant(LABELS, dtype))
    assert float(hits) == 2.0  # the second image's largest logit is of class 1, its label is 2
    _, hits = cross_entropy(tf.zeros([3, 4]), tf.constant([0, 1, 0], dtype))
    assert float(hits) == 2.0
