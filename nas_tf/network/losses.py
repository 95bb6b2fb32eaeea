"""The loss of a classifier."""

import tensorflow as tf


# A trace for each shape: one trace for several numbers of classes would not know any of them.
@tf.function
def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: float | tf.Tensor = 0.0):
    """(mean cross-entropy with smoothed labels, number of correct predictions).

    Targets are (1 − s) · one-hot + s / classes (Szegedy et al., 2016).

    Args:
      logits: float32 [N, classes].
      labels: int [N].
      smoothing: s, the share of a label that is spread over all classes.

    Returns:
      (float32 [], float32 []). Of equal logits the first counts as the prediction.
    """
    num_classes = divisor = logits.shape[-1]
    if num_classes is None:  # what reduced retracing leaves open once a process saw two class counts
        num_classes = tf.shape(logits)[-1]
        divisor = tf.cast(num_classes, logits.dtype)
    targets = tf.one_hot(labels, num_classes) * (1.0 - smoothing) + smoothing / divisor
    loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
    hits = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int64), tf.cast(labels, tf.int64))
    return loss, tf.reduce_sum(tf.cast(hits, tf.float32))
