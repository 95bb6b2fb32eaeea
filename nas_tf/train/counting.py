"""Accuracy that several processes count together."""

import numpy as np
import tensorflow as tf

from nas_tf.distribute.workers import Workers
from nas_tf.train.accuracy import AccuracyCounter


def sum_counts(counter: AccuracyCounter, num_classes: int, workers: Workers) -> AccuracyCounter:
    """The counter with what all processes counted, each on its share of the batches."""
    if workers.count > 1:
        rows = workers.gather(tf.constant(counter.counts(num_classes)[np.newaxis]))
        counter.take_counts(np.sum(rows.numpy().astype(np.int64), axis=0))
    return counter
