"""A path of the supernet: a chain of Keras layers run by functions that equal paths share.

Weights are arguments of the compiled functions, so all paths of one shape share one trace,
a path is traced when it is first drawn, and a tape sees the weights of sampled paths alone.
"""

import dataclasses
import functools
from typing import Any, Callable, Sequence

import tensorflow as tf
import tf_keras as keras


@dataclasses.dataclass(frozen=True)
class PathFunctions:
    """Compiled functions of one kind of path; weights and statistics are lists of tensors.

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


class Path(keras.layers.Layer):
    """A chain of layers from x to y = F(x), without shortcut.

    Args:
      chain: layers in order; batch norm is the only one with statistics.
      kind: hashable; paths of equal kind have equal chains and share compiled functions.
      input_shape: [H, W, C], to make the weights at once.
      functions: where compiled functions are shared, kind → `PathFunctions`.
      jit_compile: whether XLA compiles them.
      has_shortcut: whether the block adds its input to y.
    """

    def __init__(self, chain: Sequence[keras.layers.Layer], kind: Any, input_shape: Sequence[int],
                 functions: dict[Any, PathFunctions], jit_compile: bool = False,
                 has_shortcut: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.has_shortcut = has_shortcut
        self.chain = list(chain)
        shape = tf.TensorShape([None, *input_shape])
        for layer in self.chain:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.variables_trained = [w for layer in self.chain for w in layer.trainable_weights]
        self.statistics = [w for layer in self.chain for w in layer.non_trainable_weights]
        self.built = True
        if kind not in functions:
            functions[kind] = _compile(self.chain, jit_compile)
        self.functions = functions[kind]

    def read(self) -> list[tf.Tensor]:
        """Current values of the trained variables."""
        return _values(self.variables_trained)

    def train(self, x: tf.Tensor, weights: list[tf.Tensor]):
        """(y, new statistics) with these weights; nothing is assigned."""
        return self.functions.train(x, weights, _values(self.statistics))

    def frozen(self, x: tf.Tensor) -> tf.Tensor:
        """y by batch statistics; only x has a gradient, and nothing is assigned."""
        return self.functions.frozen(x, self.read())

    def gate_gradient(self, x: tf.Tensor, output_gradient: tf.Tensor) -> tf.Tensor:
        """∂L/∂g = Σ (F(x) · ∂L/∂y), a scalar."""
        return self.functions.gate(x, output_gradient, self.read())

    def join(self, x: tf.Tensor, branch: tf.Tensor) -> tf.Tensor:
        """The block's output: F(x), plus x where it has a shortcut."""
        return tf.cast(x, branch.dtype) + branch if self.has_shortcut else branch

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """y; in training by batch statistics, without moving the averages."""
        if training:
            return self.train(x, self.read())[0]
        return self.functions.infer(x, self.read(), _values(self.statistics))


def _values(variables: Sequence[tf.Variable]) -> list[tf.Tensor]:
    # The bare operation: a variable's own read costs several times as much, 400 times a step.
    return [tf.raw_ops.ReadVariableOp(resource=v.handle, dtype=v.dtype) for v in variables]


def _compile(chain: list[keras.layers.Layer], jit_compile: bool) -> PathFunctions:
    """Functions that run a chain of this form with weights given as arguments."""
    run = functools.partial(_run, [(layer, _weight_names(layer)) for layer in chain])
    function = functools.partial(tf.function, jit_compile=jit_compile or None)

    @function
    def train(x, weights, statistics):
        return run(x, weights, statistics, training=True)

    @function
    def frozen(x, weights):
        return run(x, [tf.stop_gradient(w) for w in weights], None, training=True)[0]

    @function
    def gate(x, output_gradient, weights):
        y = run(x, weights, None, training=True)[0]
        # Summed in float32 also under mixed precision: thousands of terms of both signs.
        return tf.reduce_sum(tf.cast(y, tf.float32) * tf.cast(output_gradient, tf.float32))

    @function
    def infer(x, weights, statistics):
        return run(x, weights, statistics, training=False)[0]

    return PathFunctions(train, frozen, gate, infer)


def _weight_names(layer: keras.layers.Layer) -> list[str]:
    """The attributes that hold a layer's trainable weights, in the order of `weights`."""
    return [next(name for name, value in vars(layer).items() if value is weight)
            for weight in layer.trainable_weights]


def _run(chain, x, weights, statistics, training: bool):
    """Output of the chain with the given weights, and the batch norms' new statistics."""
    weights = iter(weights)
    # None: batch statistics are wanted, and the averages are nobody's concern.
    statistics = iter(statistics) if statistics is not None else None
    moved = []
    for layer, names in chain:
        x = tf.cast(x, layer.compute_dtype)
        values = [next(weights) for _ in names]
        if isinstance(layer, keras.layers.BatchNormalization):
            averages = [next(statistics), next(statistics)] if statistics is not None else None
            x, averages = _batch_norm(layer, x, *values, averages, training)
            moved += averages
        else:
            x = _call_with(layer, dict(zip(names, values)), x)
    return x, moved


def _batch_norm(layer, x, gamma, beta, averages, training: bool):
    """y = γ (x − mean) / √(variance + ε) + β, and averages ← μ·averages + (1 − μ)·batch's."""
    mean, variance = averages if averages else (tf.zeros([0]), tf.zeros([0]))
    factor = 1.0 - layer.momentum if training and averages else 1.0
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=layer.epsilon,
        exponential_avg_factor=factor, is_training=training)
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
