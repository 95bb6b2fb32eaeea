"""The architecture parameters alpha as a Keras layer, with the optimizer that moves them."""

import numpy as np
import tensorflow as tf
import tf_keras as keras

from nas_tf.tensors import gates

INITIAL_STDDEV = 1e-3  # the ProxylessNAS authors' alpha ~ N(0, 1e-3)


class ArchitectureParameters(keras.layers.Layer):
    """Alpha of every block behind one weight, [blocks, candidates].

    Args:
      offered: bool [blocks, candidates]: which candidates each block has.
      learning_rate: of Adam with β = (0, 0.999), without weight decay (the paper's).
      seed: of the initial values.
    """

    def __init__(self, offered: np.ndarray, learning_rate: float, seed: int = 0):
        super().__init__(name="architecture_parameters")
        self.offered = offered
        self.alpha = self.add_weight(
            name="alpha", shape=offered.shape, dtype=tf.float32,
            initializer=keras.initializers.RandomNormal(stddev=INITIAL_STDDEV, seed=seed))
        self.optimizer = keras.optimizers.Adam(
            learning_rate, beta_1=0.0, beta_2=0.999, epsilon=1e-8, jit_compile=False)
        self.optimizer.build([self.alpha])
        self.built = True

    def values(self) -> np.ndarray:
        """Alpha in float64, −inf for absent candidates."""
        return np.where(self.offered, self.alpha.numpy().astype(float), -np.inf)

    def probabilities(self) -> np.ndarray:
        """[blocks, candidates], 0 for absent candidates."""
        return gates.probabilities(self.values())

    def apply_gradient(self, gradient: np.ndarray, involved: np.ndarray) -> None:
        """One step of Adam; probability moves between involved candidates only."""
        before = self.values()
        self.optimizer.apply_gradients(
            [(tf.constant(np.where(involved, gradient, 0.0), tf.float32), self.alpha)])
        after = self.values()
        if not np.array_equal(involved, self.offered):
            after = gates.keep_involved_mass(before, after, involved)
        self.alpha.assign(np.where(self.offered, after, 0.0))

    def call(self, rng: np.random.Generator) -> np.ndarray:
        """Samples the binary gates: the active candidate of each block."""
        return gates.sample(rng, self.probabilities())
