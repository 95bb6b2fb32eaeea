"""Orders of images that depend on a seed and a count alone."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Seed of orders that are fixed once and for all: every run sees the same splits.
FIXED_ORDER_SEED = 20190708


class Rows(NamedTuple):
    """Some rows of every batch: of `batch_size` ones `size` from `first` on."""

    first: int
    size: int
    batch_size: int

    def count_of(self, place: tf.Tensor) -> tf.Tensor:
        """How many images came before the one that is `place`-th among these rows."""
        return place // self.size * self.batch_size + self.first + place % self.size


def only(dataset: tf.data.Dataset, rows: Rows | None, start: int) -> tf.data.Dataset:
    """Of a stream whose first item has the place `start`, the items of some rows; None: all."""
    if rows is None:
        return dataset

    def wanted(count, item):
        place = count % rows.batch_size
        return (place >= rows.first) & (place < rows.first + rows.size)

    return dataset.enumerate(start).filter(wanted).map(lambda count, item: item)


def counts(start: int) -> tf.data.Dataset:
    """start, start + 1, … without end."""
    return tf.data.Dataset.range(start, np.iinfo(np.int64).max)


def shuffled_index(count: tf.Tensor, size: int, seed: int) -> tf.Tensor:
    """Which of `size` items comes at place `count` of an endless shuffled stream.

    Every run of `size` counts is a permutation of its own. Any place is computed directly,
    so a resumed run need not read what it has seen.

    Args:
      count: int64 [] or [N], how many items came before.
      size: items per epoch.
      seed: decides all permutations.

    Returns:
      int64 of the shape of `count`, in [0, size).
    """
    # Hashed, because the shuffle leaves small indices almost in place under small keys. The raw
    # op, because its wrapper takes no vector of keys.
    epoch = tf.strings.as_string(count // size)
    # The operation wants a key of three words, and its `max_index` is still part of the range.
    key = tf.stack([_hash(f"{seed}-{word}-", epoch) for word in range(3)], axis=-1)
    return tf.raw_ops.RandomIndexShuffle(
        index=count % size, seed=key, max_index=tf.constant(size - 1, tf.int64), rounds=8
    )


def fixed_permutation(size: int) -> np.ndarray:
    """One permutation of range(size), the same for ever."""
    return np.random.default_rng(FIXED_ORDER_SEED).permutation(size)


def _hash(prefix: str, text: tf.Tensor) -> tf.Tensor:
    """int32 of the shape of `text`."""
    return tf.cast(tf.strings.to_hash_bucket_fast(prefix + text, 2**31 - 1), tf.int32)
