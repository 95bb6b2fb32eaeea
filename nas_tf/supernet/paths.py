"""A path of the supernet: a chain of layers with weights of its own.

Equal paths share compiled functions.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from nas_tf.supernet.chains import Chain
from nas_tf.supernet.gate_values import Moments, gate_value

# Called and not copied into the graphs around them: the graph of an architecture step would
# have a hundred copies. A weight step has one per block, and copies overlap better.
_AS_A_CALL = {"experimental_attributes": {"_noinline": True}}


@dataclasses.dataclass(frozen=True)
class PathFunctions:
    """Compiled functions of paths; weights, statistics and layout are vectors.

    Attributes:
      train: (x, weights, statistics, layout, weight decay) → (y, new statistics); batch norm by
        the batch.
      frozen: (x, weights, layout) → y; as `train`, gradients flow to x alone.
      gate: (x, dy, weights, layout, mean, covariance) → Σ y · dy, the gradient of the loss in
        the path's gate; see `gate_values`.
      infer: (x, weights, statistics, layout) → y; batch norm by its moving statistics.
      output_dtype: of y.
    """

    train: Callable[..., Any]
    frozen: Callable[..., Any]
    gate: Callable[..., Any]
    infer: Callable[..., Any]
    output_dtype: str


@dataclasses.dataclass(frozen=True)
class PathKind:
    """What paths of one shape have in common."""

    chain: Chain
    functions: PathFunctions


class Path(keras.layers.Layer):
    """A chain of layers from x to y = F(x), without shortcut, with weights of its own.

    Args:
      kind: shared by all paths of this shape.
      has_shortcut: whether the block adds its input to y.

    Attributes:
      trained: flat vector of kernels, biases, scales and shifts.
      statistics: flat vector of moving means and variances.
    """

    def __init__(self, kind: PathKind, has_shortcut: bool, **kwargs):
        super().__init__(**kwargs)
        self.kind, self.has_shortcut = kind, has_shortcut
        self.trained = self._vector("trained", kind.chain.initial_weights(), True)
        self.statistics = self._vector("statistics", kind.chain.initial_statistics(), False)
        self.built = True

    def _vector(self, name: str, value: np.ndarray, trainable: bool) -> tf.Variable:
        # Without autocast: under mixed precision Keras would wrap the variable in one that reads as
        # bfloat16, but batch norm's scale, shift and averages are used in float32.
        return self.add_weight(
            name,
            value.shape,
            tf.float32,
            trainable=trainable,
            initializer=lambda shape, dtype=None: tf.constant(value, dtype),
            experimental_autocast=False,
        )

    def train(self, x: tf.Tensor, weights: tf.Tensor, weight_decay: tf.Tensor):
        """(y, new statistics) with these weights; nothing is assigned."""
        return self.kind.functions.train(
            x, weights, value_of(self.statistics), self.kind.chain.layout, weight_decay
        )

    def frozen(self, x: tf.Tensor) -> tf.Tensor:
        """y by batch statistics; only x has a gradient, and nothing is assigned."""
        return self.kind.functions.frozen(x, value_of(self.trained), self.kind.chain.layout)

    def gate_gradient(
        self,
        x: tf.Tensor,
        output_gradient: tf.Tensor,
        moments: Moments,
    ) -> tf.Tensor:
        """∂L/∂g = Σ (F(x) · ∂L/∂y), a scalar; `moments` are those of x."""
        return self.kind.functions.gate(
            x, output_gradient, value_of(self.trained), self.kind.chain.layout, *moments
        )

    def join(self, x: tf.Tensor, branch: tf.Tensor) -> tf.Tensor:
        """The block's output: F(x), plus x where it has a shortcut."""
        return tf.cast(x, branch.dtype) + branch if self.has_shortcut else branch

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """y; in training by batch statistics, without moving the averages."""
        if training:
            return self.frozen(x)
        return self.kind.functions.infer(
            x, value_of(self.trained), value_of(self.statistics), self.kind.chain.layout
        )


def value_of(variable: tf.Variable) -> tf.Tensor:
    """The variable's value as it is now."""
    # The bare operation: a variable's own read costs several times as much.
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=tf.float32)


def shared_functions(chain: Chain) -> PathFunctions:
    """Functions for all chains of this form: shapes are known when they run, not before."""
    image = tf.TensorSpec([None, None, None, None], chain.layers[0].compute_dtype)
    gradient = tf.TensorSpec(None, chain.layers[-1].compute_dtype)
    vector, layout = tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int32)
    moments = (vector, tf.TensorSpec([None, None], tf.float32))
    decay = tf.TensorSpec([], tf.float32)
    return _compile(
        chain,
        lambda layout: layout,
        {
            "train": {"input_signature": (image, vector, vector, layout, decay)},
            "frozen": {"input_signature": (image, vector, layout), **_AS_A_CALL},
            "gate": {"input_signature": (image, gradient, vector, layout, *moments), **_AS_A_CALL},
            "infer": {"input_signature": (image, vector, vector, layout), **_AS_A_CALL},
        },
    )


def compiled_functions(chain: Chain) -> PathFunctions:
    """Functions of this chain alone, compiled by XLA, which has to know all shapes."""
    return _compile(
        chain, lambda layout: None, dict.fromkeys(("train", "frozen", "gate", "infer"), {"jit_compile": True})
    )


def _compile(chain: Chain, shapes: Callable, options: dict[str, dict]) -> PathFunctions:
    def train(x, weights, statistics, layout, weight_decay):
        return chain.run(x, weights, statistics, shapes(layout), weight_decay=weight_decay)

    def frozen(x, weights, layout):
        # The gradient of a compiled function is computed in all of its arguments, watched or not. This
        # leaves out that of the weights, which no architecture step needs.
        return chain.run(x, tf.stop_gradient(weights), None, shapes(layout))[0]

    def gate(x, output_gradient, weights, layout, mean, covariance):
        return gate_value(chain, x, output_gradient, weights, shapes(layout), Moments(mean, covariance))

    def infer(x, weights, statistics, layout):
        return chain.run(x, weights, statistics, shapes(layout), training=False)[0]

    functions = {"train": train, "frozen": frozen, "gate": gate, "infer": infer}
    return PathFunctions(
        output_dtype=chain.layers[-1].compute_dtype,
        **{
            name: _casting(tf.function(function, **options[name]), chain.layers[0].compute_dtype)
            for name, function in functions.items()
        },
    )


def _casting(function: Callable, dtype: str) -> Callable:
    """The function on inputs of the dtype that its first layer computes in."""
    # A function refuses inputs of another type than its signature's; images are float32 under mixed
    # precision too.
    if dtype == "float32":
        return function
    return lambda x, *rest: function(tf.cast(x, dtype), *rest)
