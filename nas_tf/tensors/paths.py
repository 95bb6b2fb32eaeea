"""A path of the supernet: a chain of Keras layers run by functions that equal paths share.

A path's weights are one flat vector, given to the compiled functions as an argument. So all
paths of one shape share one set of layers and one trace, a path is traced when it is first
drawn, a tape sees the weights of sampled paths alone, and one operation updates a path.
"""

import dataclasses
import functools
import math
from typing import Any, Callable, Hashable, Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

from nas_tf.training.optimizers import decays


@dataclasses.dataclass(frozen=True)
class PathFunctions:
    """Compiled functions of one kind of path; weights and statistics are flat vectors.

    Attributes:
      train: (x, weights, statistics) → (y, new statistics); batch norm by batch statistics.
      frozen: (x, weights) → y; as `train`, gradients flow to x alone.
      gate: (x, dy, weights) → Σ y · dy, the gradient of the loss in the path's gate.
      infer: (x, weights, statistics) → y; batch norm by its moving statistics.
    """

    train: Callable[..., Any]
    frozen: Callable[..., Any]
    gate: Callable[..., Any]
    infer: Callable[..., Any]


class PathKind:
    """What paths of one shape have in common: layers, layout of the vectors, functions.

    Args:
      chain: layers in order; batch norm is the only one with statistics.
      input_shape: [H, W, C].
      jit_compile: whether XLA compiles the functions.

    Attributes:
      decay_mask: float32, 1 where weight decay applies, one number a weight.
    """

    def __init__(self, chain: Sequence[keras.layers.Layer], input_shape: Sequence[int],
                 jit_compile: bool = False):
        shape = tf.TensorShape([None, *input_shape])
        for layer in chain:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self._weights = [(layer, name) for layer in chain
                         for name in _attributes(layer, layer.trainable_weights)]
        self._averages = [(layer, name) for layer in chain
                          for name in _attributes(layer, layer.non_trainable_weights)]
        self.decay_mask = tf.concat([
            tf.fill([math.prod(w.shape)], float(decays(w)))
            for w in self._variables(self._weights)], 0)
        self.functions = _compile(self, chain, jit_compile)

    def initial_weights(self) -> np.ndarray:
        """Fresh initial values, flat."""
        return np.concatenate([
            _initial(layer, name, getattr(layer, name).shape) for layer, name in self._weights])

    def initial_statistics(self) -> np.ndarray:
        """Initial moving statistics, flat."""
        values = [v.numpy().ravel() for v in self._variables(self._averages)]
        return np.concatenate(values) if values else np.zeros(0, np.float32)

    def unpack(self, weights) -> list[tf.Tensor]:
        """A flat vector's parts in their shapes, in the order of Keras' `trainable_weights`."""
        return _unpacked(weights, [v.shape for v in self._variables(self._weights)])

    def unpack_statistics(self, statistics) -> list[tf.Tensor]:
        """Means and variances in the order of Keras' `non_trainable_weights`."""
        return _unpacked(statistics, [v.shape for v in self._variables(self._averages)])

    def run(self, chain, x, weights, statistics, training: bool):
        """(output, new statistics); without statistics, batch norm does not move any."""
        values: dict[int, dict[str, tf.Tensor]] = {}
        for (layer, name), value in zip(self._weights, self.unpack(weights)):
            values.setdefault(id(layer), {})[name] = value
        averages = iter([] if statistics is None else self.unpack_statistics(statistics))
        moved = []
        for layer in chain:
            x = tf.cast(x, layer.compute_dtype)
            own = values.get(id(layer), {})
            if isinstance(layer, keras.layers.BatchNormalization):
                held = None if statistics is None else (next(averages), next(averages))
                x, new = _batch_norm(layer, x, own, held, training)
                moved += new
            else:
                x = _call_with(layer, own, x)
        return x, tf.concat(moved, 0) if moved else tf.zeros([0])

    @staticmethod
    def _variables(places) -> list[tf.Variable]:
        return [getattr(layer, name) for layer, name in places]


class Path(keras.layers.Layer):
    """A chain of layers from x to y = F(x), without shortcut, with weights of its own.

    Args:
      kind: shared by all paths of this shape.
      has_shortcut: whether the block adds its input to y.

    Attributes:
      trained: flat vector of kernels, biases, scales and shifts.
      statistics: flat vector of moving means and variances.
    """

    def __init__(self, kind: PathKind, has_shortcut: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.kind, self.has_shortcut = kind, has_shortcut
        self.trained = self._vector("trained", kind.initial_weights(), True)
        self.statistics = self._vector("statistics", kind.initial_statistics(), False)
        self.built = True

    def _vector(self, name: str, value: np.ndarray, trainable: bool) -> tf.Variable:
        return self.add_weight(name, value.shape, tf.float32, trainable=trainable,
                               initializer=lambda shape, dtype=None: tf.constant(value, dtype),
                               experimental_autocast=False)

    def train(self, x: tf.Tensor, weights: tf.Tensor):
        """(y, new statistics) with these weights; nothing is assigned."""
        return self.kind.functions.train(x, weights, _value(self.statistics))

    def frozen(self, x: tf.Tensor) -> tf.Tensor:
        """y by batch statistics; only x has a gradient, and nothing is assigned."""
        return self.kind.functions.frozen(x, self.read())

    def gate_gradient(self, x: tf.Tensor, output_gradient: tf.Tensor) -> tf.Tensor:
        """∂L/∂g = Σ (F(x) · ∂L/∂y), a scalar."""
        return self.kind.functions.gate(x, output_gradient, self.read())

    def read(self) -> tf.Tensor:
        """Current values of the trained vector."""
        return _value(self.trained)

    def join(self, x: tf.Tensor, branch: tf.Tensor) -> tf.Tensor:
        """The block's output: F(x), plus x where it has a shortcut."""
        return tf.cast(x, branch.dtype) + branch if self.has_shortcut else branch

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """y; in training by batch statistics, without moving the averages."""
        if training:
            return self.train(x, self.read())[0]
        return self.kind.functions.infer(x, self.read(), _value(self.statistics))


def _value(variable: tf.Variable) -> tf.Tensor:
    # The bare operation: a variable's own read costs several times as much.
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=tf.float32)


def _unpacked(vector, shapes) -> list[tf.Tensor]:
    if not shapes:
        return []
    parts = tf.split(vector, [math.prod(shape) for shape in shapes])
    return [tf.reshape(part, shape) for part, shape in zip(parts, shapes)]


def _attributes(layer: keras.layers.Layer, variables: Sequence[tf.Variable]) -> list[str]:
    """Names of the layer's attributes that hold these variables, in their order."""
    return [next(name for name, value in vars(layer).items() if value is variable)
            for variable in variables]


def _initial(layer: keras.layers.Layer, name: str, shape: Sequence[int]) -> np.ndarray:
    """A fresh draw of the layer's own initializer, flat."""
    # Keras calls them kernel_initializer, gamma_initializer, …, but depthwise_initializer.
    prefix = name.removesuffix("_kernel")
    initializer = getattr(layer, f"{prefix}_initializer")
    # The same instance would draw the same numbers again.
    fresh = type(initializer).from_config(initializer.get_config())
    return np.asarray(fresh(shape, dtype=tf.float32)).ravel()


def _compile(kind: PathKind, chain: Sequence[keras.layers.Layer],
             jit_compile: bool) -> PathFunctions:
    """Functions that run a chain of this form with weights given as arguments."""
    run = functools.partial(kind.run, list(chain))
    function = functools.partial(tf.function, jit_compile=jit_compile or None)

    @function
    def train(x, weights, statistics):
        return run(x, weights, statistics, training=True)

    @function
    def frozen(x, weights):
        return run(x, tf.stop_gradient(weights), None, training=True)[0]

    @function
    def gate(x, output_gradient, weights):
        y = run(x, weights, None, training=True)[0]
        # Summed in float32 also under mixed precision: thousands of terms of both signs.
        return tf.reduce_sum(tf.cast(y, tf.float32) * tf.cast(output_gradient, tf.float32))

    @function
    def infer(x, weights, statistics):
        return run(x, weights, statistics, training=False)[0]

    return PathFunctions(train, frozen, gate, infer)


def _batch_norm(layer, x, weights, averages, training: bool):
    """y = γ (x − mean) / √(variance + ε) + β, and averages ← μ·averages + (1 − μ)·batch's."""
    mean, variance = averages or (tf.zeros([0]), tf.zeros([0]))
    factor = 1.0 - layer.momentum if training and averages else 1.0
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=weights["gamma"], offset=weights["beta"], mean=mean, variance=variance,
        epsilon=layer.epsilon, exponential_avg_factor=factor, is_training=training)
    return y, [mean, variance]


def _call_with(layer: keras.layers.Layer, values: dict[str, tf.Tensor], x: tf.Tensor):
    """The layer's own computation with its weights replaced for the duration of the call."""
    attributes = vars(layer)
    own = {name: attributes[name] for name in values}
    attributes.update({n: tf.cast(v, layer.compute_dtype) for n, v in values.items()})
    try:
        return layer.call(x)
    finally:
        attributes.update(own)
