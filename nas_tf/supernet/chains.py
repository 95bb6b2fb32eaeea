"""A chain of Keras layers that is computed with weights given as one flat vector.

The layers say what is computed; their own variables are never made. With the weights' shapes
as an argument too, one compiled graph serves all chains that differ in widths and kernel size.
"""

import dataclasses
import math
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

_WEIGHTLESS = (
    keras.layers.ReLU,
    keras.layers.ZeroPadding2D,
    keras.layers.Flatten,
    keras.layers.GlobalAveragePooling2D,
)
_KERNELS = ("kernel", "depthwise_kernel")


@dataclasses.dataclass(frozen=True)
class Weight:
    """One trained weight of a layer.

    Attributes:
      layer: position in the chain.
      name: Keras' name of the attribute.
    """

    layer: int
    name: str
    shape: tuple[int, ...]
    initializer: keras.initializers.Initializer

    @property
    def size(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)

    def initial(self) -> np.ndarray:
        """A fresh draw of the initializer, flat."""
        # The same instance would draw the same numbers again.
        fresh = type(self.initializer).from_config(self.initializer.get_config())
        return np.asarray(fresh(self.shape, dtype=tf.float32)).ravel()


class Chain:
    """Layers one after the other: convolutions, batch norms and layers without weights.

    Args:
      layers: in order, not built.
      channels: of the input.

    Attributes:
      weights: in the order of Keras' `trainable_weights`.
      layout: int32 vector, of all `weights` the shapes, then the sizes, then where in the flat
        vector they start.
      form: equal for chains that differ in nothing but the shapes of their weights.

    Raises:
      TypeError: a layer with weights of another kind.
    """

    def __init__(self, layers: Sequence[keras.layers.Layer], channels: int):
        self.layers = list(layers)
        self.weights: list[Weight] = []
        for position, layer in enumerate(self.layers):
            shapes, channels = _weight_shapes(layer, channels)
            # Keras calls them kernel_initializer, gamma_initializer, …, but depthwise_initializer.
            self.weights += [
                Weight(position, name, shape, getattr(layer, f"{name.removesuffix('_kernel')}_initializer"))
                for name, shape in shapes.items()
            ]
        shapes, sizes, starts = zip(*_places([weight.shape for weight in self.weights]), strict=True)
        self.layout = tf.constant(np.concatenate([*shapes, *sizes, *starts]), tf.int32)
        self.form: Hashable = tuple(map(_form, self.layers))

    def initial_weights(self) -> np.ndarray:
        """Fresh initial values, flat."""
        return np.concatenate([weight.initial() for weight in self.weights])

    def initial_statistics(self) -> np.ndarray:
        """Means of 0 and variances of 1, flat."""
        sizes = self._norm_sizes()
        return (
            np.concatenate([np.full(2 * n, [0.0] * n + [1.0] * n, np.float32) for n in sizes])
            if sizes
            else np.zeros(0, np.float32)
        )

    def unpack(self, weights: tf.Tensor) -> list[tf.Tensor]:
        """A flat vector's parts in their shapes, in the order of Keras' `trainable_weights`."""
        return [
            tf.reshape(part, weight.shape)
            for part, weight in zip(
                tf.split(weights, [weight.size for weight in self.weights]), self.weights, strict=True
            )
        ]

    def unpack_statistics(self, statistics: tf.Tensor) -> list[tf.Tensor]:
        """Means and variances in the order of Keras' `non_trainable_weights`."""
        return tf.split(statistics, np.repeat(self._norm_sizes(), 2)) if self._norm_sizes() else []

    def run(
        self,
        x: tf.Tensor,
        weights: tf.Tensor,
        statistics: tf.Tensor | None = None,
        layout: tf.Tensor | None = None,
        training: bool = True,
        weight_decay: float | tf.Tensor = 0.0,
    ):
        """The chain's output.

        Args:
          x: [N, H, W, C].
          weights, statistics: flat; without statistics, batch norm moves no averages.
          layout: of a chain of the same form, for its weights; None for this chain's own.
          training: batch norm by the batch (True) or by `statistics`.
          weight_decay: the gradient in the weights is that of loss + decay/2 · Σ kernels².

        Returns:
          (y, new statistics, flat).
        """
        values = self.values(weights, layout, weight_decay)
        averages = iter(() if statistics is None else _averages(values, statistics))
        moved: list[tf.Tensor] = []
        for layer, own in zip(self.layers, values, strict=True):
            x = tf.cast(x, layer.compute_dtype)
            if isinstance(layer, keras.layers.BatchNormalization):
                held = None if statistics is None else (next(averages), next(averages))
                x, new = _batch_norm(layer, x, own, held, training)
                moved += new
            else:
                x = compute(layer, x, own)
        return x, tf.concat(moved, 0) if moved else tf.zeros([0])

    def values(
        self, weights: tf.Tensor, layout: tf.Tensor | None = None, weight_decay: float | tf.Tensor = 0.0
    ) -> list[dict[str, tf.Tensor]]:
        """For every layer its weights by name, out of the flat vector.

        A gradient that comes back through them has decay · w added for kernels.
        """
        ranks = [len(weight.shape) for weight in self.weights]
        if layout is None:
            places = _places([weight.shape for weight in self.weights])
        else:
            numbers = tf.split(layout, [*ranks, *[1] * (2 * len(ranks))])
            places = [numbers[i :: len(ranks)] for i in range(len(ranks))]
        decays = [weight.name in _KERNELS for weight in self.weights]
        result: list[dict[str, tf.Tensor]] = [{} for _ in self.layers]
        parts = _parts(weights, places, decays, weight_decay)
        for weight, value in zip(self.weights, parts, strict=True):
            result[weight.layer][weight.name] = value
        return result

    def _norm_sizes(self) -> list[int]:
        return [weight.size for weight in self.weights if weight.name == "gamma"]


def compute(layer: keras.layers.Layer, x: tf.Tensor, weights: dict[str, tf.Tensor]) -> tf.Tensor:
    """A layer's output with these weights; any layer of a chain but batch norm."""
    weights = {name: tf.cast(value, x.dtype) for name, value in weights.items()}
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return tf.raw_ops.DepthwiseConv2dNative(
            input=x,
            filter=weights["depthwise_kernel"],
            strides=[1, *layer.strides, 1],
            padding=layer.padding.upper(),
        )
    if isinstance(layer, keras.layers.Conv2D):
        y = tf.nn.conv2d(x, weights["kernel"], layer.strides, layer.padding.upper())
        return tf.nn.bias_add(y, weights["bias"]) if layer.use_bias else y
    return layer.call(x)


def _weight_shapes(layer: keras.layers.Layer, channels: int) -> tuple[dict[str, tuple], int]:
    """(shapes of the trained weights by name, channels of the output)."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return {"depthwise_kernel": (*layer.kernel_size, channels, 1)}, channels
    if isinstance(layer, keras.layers.Conv2D):
        shapes = {"kernel": (*layer.kernel_size, channels, layer.filters)}
        return shapes | ({"bias": (layer.filters,)} if layer.use_bias else {}), layer.filters
    if isinstance(layer, keras.layers.BatchNormalization):
        return {"gamma": (channels,), "beta": (channels,)}, channels
    if isinstance(layer, _WEIGHTLESS):
        return {}, channels
    raise TypeError(f"{type(layer).__name__} cannot be part of a path.")


def _form(layer: keras.layers.Layer) -> Hashable:
    # Depthwise kernels of any size are one form; dense ones of 1×1 can be computed in ways that
    # others cannot (`gate_values`).
    is_dense = isinstance(layer, keras.layers.Conv2D) and not isinstance(layer, keras.layers.DepthwiseConv2D)
    return (
        type(layer).__name__,
        layer.compute_dtype,
        *(getattr(layer, name, None) for name in ("strides", "padding", "use_bias")),
        is_dense and layer.kernel_size == (1, 1),
    )


def _places(shapes: Sequence[tuple[int, ...]]) -> list[tuple]:
    """(shape, [size], [start]) of consecutive parts of a flat vector."""
    sizes = [math.prod(shape) for shape in shapes]
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    return [(shape, [size], [start]) for shape, size, start in zip(shapes, sizes, starts, strict=True)]


def _parts(
    vector: tf.Tensor, places: Sequence[tuple], decays: Sequence[bool], weight_decay: float | tf.Tensor
) -> list[tf.Tensor]:
    """Parts of a vector in their shapes.

    Slices, which share the vector's memory where a split would copy; but the gradient of
    slices would be a sum of vectors that are zero almost everywhere.
    """

    @tf.custom_gradient
    def unpack(flat):
        parts = [tf.reshape(tf.slice(flat, start, size), shape) for shape, size, start in places]

        def gradient(*upstream):
            # ∂(loss + decay/2 · Σ w²)/∂w = ∂loss/∂w + decay · w
            decayed = [
                g + weight_decay * w if decaying else g
                for g, w, decaying in zip(upstream, parts, decays, strict=True)
            ]
            return tf.concat([tf.reshape(g, [-1]) for g in decayed], 0)

        return parts, gradient

    return unpack(vector)


def _averages(values: list[dict[str, tf.Tensor]], statistics: tf.Tensor) -> Iterator[tf.Tensor]:
    """Means and variances in turn, as long as the scales of the same batch norm."""
    sizes = [tf.size(own["gamma"]) for own in values if "gamma" in own for _ in range(2)]
    return iter(tf.split(statistics, tf.stack(sizes), num=len(sizes)) if sizes else ())


def _batch_norm(layer, x, weights, averages, training: bool):
    """y = γ (x − mean) / √(variance + ε) + β, and averages ← μ·averages + (1 − μ)·batch's."""
    mean, variance = averages or (tf.zeros([0]), tf.zeros([0]))
    factor = 1.0 - layer.momentum if training and averages else 1.0
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=weights["gamma"],
        offset=weights["beta"],
        mean=mean,
        variance=variance,
        epsilon=layer.epsilon,
        exponential_avg_factor=factor,
        is_training=training,
    )
    return y, [mean, variance]
