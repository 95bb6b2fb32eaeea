"""scikit-learn's handwritten digits: real images that need no network."""

import numpy as np

from nas_tf.data.order import fixed_permutation
from nas_tf.data.sources import ArraySource

SIZE = 8
NUM_TEST = 360  # a fifth
_BRIGHTEST = 16  # of the file's grey levels


def open_digits() -> ArraySource:
    """1,797 digits 8×8 of ten classes: `train` 1,437, `test` 360, in a fixed shuffled order."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = fixed_permutation(len(data.target))
    grey = np.round(data.images[order] * (255 / _BRIGHTEST)).astype(np.uint8)
    images = np.repeat(grey[..., np.newaxis], 3, axis=-1)
    labels = data.target[order].astype(np.int64)
    splits = {"train": (images[NUM_TEST:], labels[NUM_TEST:]), "test": (images[:NUM_TEST], labels[:NUM_TEST])}
    sizes = {name: len(column) for name, (_, column) in splits.items()}
    return ArraySource("digits", map(str, data.target_names), SIZE, sizes, splits.__getitem__)
