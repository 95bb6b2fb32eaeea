"""Exponential moving average of a model's weights."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
import tf_keras as keras


class MovingAverage(tf.Module):
    """Averages all weights, batch norm's statistics included.

    Args:
      model: whose weights.
      decay: of the average; 0 for none, which costs nothing.
    """

    def __init__(self, model: keras.Model, decay: float):
        super().__init__(name="moving_average")
        self._decay = decay
        self._weights = model.weights if decay else []
        self.averages = [tf.Variable(w, trainable=False) for w in self._weights]

    def update(self, step: tf.Tensor) -> None:
        """a ← a + (1 − d)·(w − a) with d = min(decay, (1 + step) / (10 + step)).

        The short memory at the start (as in TensorFlow's own moving averages) lets the
        initial weights fade.
        """
        step = tf.cast(step, tf.float32)
        decay = tf.minimum(self._decay, (1.0 + step) / (10.0 + step))
        for average, weight in zip(self.averages, self._weights, strict=True):
            average.assign_add((1.0 - decay) * (weight - average))

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights inside, its own again afterwards."""
        own = [w.numpy() for w in self._weights]
        _assign(self._weights, self.averages)
        try:
            yield
        finally:
            _assign(self._weights, own)


def _assign(variables, values) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
