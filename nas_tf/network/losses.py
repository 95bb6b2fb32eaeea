"""The loss of a classifier."""

import tensorflow as tf


@tf.function(reduce_retracing=True)
def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: float | tf.Tensor = 0.0):
    """(mean cross-entropy with smoothed labels, number of correct predictions).

    Targets are (1 − s) · one-hot + s / classes (Szegedy et al., 2016).
    """
    num_classes = divisor = logits.shape[-1]
    if num_classes is None:  # what reduced retracing leaves open once a process saw two class counts
        num_classes = tf.shape(logits)[-1]
        divisor = tf.cast(num_classes, logits.dtype)
    targets = tf.one_hot(labels, num_classes) * (1.0 - smoothing) + smoothing / divisor
    loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
    hits = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int64), tf.cast(labels, tf.int64))
    return loss, tf.reduce_sum(tf.cast(hits, tf.float32))
