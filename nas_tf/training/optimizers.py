"""The weights' optimizer: SGD with Nesterov momentum, and weight decay where it belongs."""

from typing import Sequence

import tensorflow as tf
import tf_keras as keras

MOMENTUM = 0.9
WEIGHT_DECAY = 4e-5


def sgd(learning_rate: float = 0.0, momentum: float = MOMENTUM) -> keras.optimizers.Optimizer:
    """SGD with Nesterov momentum: m ← μ·m − η·g, w ← w + μ·m − η·g."""
    # Keras compiles its update by XLA where it sees a GPU; the caller's --jit_compile decides.
    return keras.optimizers.SGD(learning_rate, momentum, nesterov=True, jit_compile=False)


def decays(variable: tf.Variable) -> bool:
    """Whether weight decay applies: to kernels, not to biases nor batch norm's vectors."""
    return variable.shape.rank > 1


def with_weight_decay(gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable],
                      weight_decay: float = WEIGHT_DECAY) -> list[tf.Tensor]:
    """Gradients of loss + decay/2 · Σ w² over the kernels.

    The decay enters the momentum, as in PyTorch's SGD with which the published settings were
    found. Keras' own `weight_decay` acts beside the momentum and is about 1 / (1 − μ) = 10
    times weaker for the same number.
    """
    return [g + weight_decay * tf.cast(v, g.dtype) if decays(v) else g
            for g, v in zip(gradients, variables, strict=True)]
