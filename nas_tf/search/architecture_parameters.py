"""The architecture parameters alpha as a Keras layer, with the optimizer that moves them."""

import numpy as np
import tensorflow as tf
import tf_keras as keras

from nas_tf.search import gates

INITIAL_STDDEV = 1e-3  # the ProxylessNAS authors' alpha ~ N(0, 1e-3)
# The draws of every step are made on the host, where alpha lies for that: reading a variable of another
# device would wait for all that this has to do.
_HOST = "/device:CPU:0"
BETA_1, BETA_2, EPSILON = 0.0, 0.999, 1e-8  # theirs as well


class ArchitectureParameters(keras.layers.Layer):
    """Alpha of every block in one weight, [blocks, candidates], and Adam's state beside it.

    Args:
      offered: bool [blocks, candidates]: which candidates each block has.
      learning_rate: of Adam, without weight decay.
      seed: of the initial values.
    """

    def __init__(self, offered: np.ndarray, learning_rate: float, seed: int = 0):
        super().__init__(name="architecture_parameters")
        self.offered, self._rate = offered, learning_rate
        self.alpha = self._weight(
            "alpha", keras.initializers.RandomNormal(stddev=INITIAL_STDDEV, seed=seed), trainable=True
        )
        self._mean = self._weight("first_moment", "zeros")
        self._square = self._weight("second_moment", "zeros")
        with tf.device(_HOST):
            self._steps = self.add_weight("steps", (), tf.int64, "zeros", trainable=False)
        self.built = True

    def _weight(self, name: str, initializer, trainable: bool = False) -> tf.Variable:
        # float64 as in `gates` and `objective`, so that nothing is rounded on its way through the
        # variable.
        with tf.device(_HOST):
            return self.add_weight(name, self.offered.shape, tf.float64, initializer, trainable=trainable)

    def values(self) -> np.ndarray:
        """Alpha, −inf for absent candidates."""
        # A variable's value is copied to the device that is asked for at the moment, wherever it lies.
        with tf.device(_HOST):
            alpha = self.alpha.numpy()
        return np.where(self.offered, alpha, -np.inf)

    def probabilities(self) -> np.ndarray:
        """[blocks, candidates], 0 for absent candidates."""
        return gates.probabilities(self.values())

    def apply_gradient(self, gradient: np.ndarray, involved: np.ndarray) -> None:
        """One step of Adam; probability moves between involved candidates only."""
        before = self.values()
        # A gradient of 0 leaves a candidate where it is: with β₁ = 0 Adam has no momentum to carry it
        # on.
        with tf.device(_HOST):
            self._adam(np.where(involved, gradient, 0.0))
        after = self.values()
        if not np.array_equal(involved, self.offered):
            after = gates.keep_involved_mass(before, after, involved)
        self.assign(after)

    def assign(self, alpha: np.ndarray) -> None:
        """Takes these values, whatever they are for absent candidates."""
        # Absent candidates are 0 here and not −inf, which would be taken for a search that diverged.
        with tf.device(_HOST):
            self.alpha.assign(np.where(self.offered, alpha, 0.0))

    def _adam(self, gradient: np.ndarray) -> None:
        # The bare operation: Keras' optimizer costs milliseconds per call, for 147 numbers.
        steps = int(self._steps.assign_add(1))

        def number(value):
            return tf.constant(value, tf.float64)

        tf.raw_ops.ResourceApplyAdam(
            var=self.alpha.handle,
            m=self._mean.handle,
            v=self._square.handle,
            beta1_power=number(BETA_1**steps),
            beta2_power=number(BETA_2**steps),
            lr=number(self._rate),
            beta1=number(BETA_1),
            beta2=number(BETA_2),
            epsilon=number(EPSILON),
            grad=number(gradient),
        )

    def call(self, rng: np.random.Generator) -> np.ndarray:
        """Samples the binary gates: the active candidate of each block."""
        return gates.sample(rng, self.probabilities())
