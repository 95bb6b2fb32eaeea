"""Which weights a chain of layers has, and where each lies in one flat vector.

Where a weight lies can be said in two ways: by Python numbers, for a graph that knows its shapes,
or by a *layout*, a vector of the same numbers that is an argument of the graph like the weights.
"""

import dataclasses
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

# Named one by one: weights of a layer that is not known here would be missing from the vector without
# a word.
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

    @property
    def decays(self) -> bool:
        """Whether weight decay applies: to kernels, not to biases nor batch norm's vectors."""
        return self.name in _KERNELS

    def initial(self) -> np.ndarray:
        """A fresh draw of the initializer, flat."""
        # The same instance would draw the same numbers again.
        fresh = type(self.initializer).from_config(self.initializer.get_config())
        return np.asarray(fresh(self.shape, dtype=tf.float32)).ravel()


class Place(NamedTuple):
    """Where a weight lies in a flat vector: int32 tensors, or sequences of Python numbers.

    Attributes:
      shape: [rank of the weight].
      size, start: [1], as `tf.slice` takes them.
    """

    shape: tf.Tensor | Sequence[int]
    size: tf.Tensor | Sequence[int]
    start: tf.Tensor | Sequence[int]


def weights_of(
    layers: Sequence[keras.layers.Layer], channels: int, absent: Collection[int] = ()
) -> list[Weight]:
    """All weights in the order of Keras' `trainable_weights`.

    Args:
      layers: in order, not built.
      channels: of the input.
      absent: positions of layers that stand for what this chain does without; their weights are
        empty, and they leave the channels as they are.

    Raises:
      TypeError: a layer with weights of another kind.
    """
    weights = []
    for position, layer in enumerate(layers):
        shapes, channels = _weight_shapes(layer, channels)
        if position in absent:
            shapes = {name: (0,) * len(shape) for name, shape in shapes.items()}
        weights += [
            Weight(position, name, shape, _initializer(layer, name)) for name, shape in shapes.items()
        ]
    return weights


def _weight_shapes(layer: keras.layers.Layer, channels: int) -> tuple[dict[str, tuple[int, ...]], int]:
    """(shapes of the trained weights by Keras' name, channels of the output)."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return {"depthwise_kernel": (*layer.kernel_size, channels, 1)}, channels
    if isinstance(layer, keras.layers.Conv2D):
        shapes: dict[str, tuple[int, ...]] = {"kernel": (*layer.kernel_size, channels, layer.filters)}
        if layer.use_bias:
            shapes["bias"] = (layer.filters,)
        return shapes, layer.filters
    if isinstance(layer, keras.layers.BatchNormalization):
        return {"gamma": (channels,), "beta": (channels,)}, channels
    if isinstance(layer, _WEIGHTLESS):
        return {}, channels
    raise TypeError(f"{type(layer).__name__} cannot be part of a path.")


def _initializer(layer: keras.layers.Layer, name: str) -> keras.initializers.Initializer:
    # Keras calls them kernel_initializer, gamma_initializer, …, but depthwise_initializer.
    return getattr(layer, f"{name.removesuffix('_kernel')}_initializer")


def places_of(weights: Sequence[Weight]) -> list[Place]:
    """Where weights lie that follow one another in a flat vector."""
    starts = np.cumsum([0, *(weight.size for weight in weights[:-1])]).tolist()
    return [
        Place(weight.shape, [weight.size], [start]) for weight, start in zip(weights, starts, strict=True)
    ]


def layout_of(places: Sequence[Place]) -> tf.Tensor:
    """Places as one int32 vector: all shapes, then all sizes, then all starts."""
    shapes, sizes, starts = zip(*places, strict=True)
    return tf.constant(np.concatenate([*shapes, *sizes, *starts]), tf.int32)


def places_in(layout: tf.Tensor, ranks: Sequence[int]) -> list[Place]:
    """The opposite of `layout_of`, for weights of these ranks."""
    count = len(ranks)
    # How many numbers each part has follows from the ranks, which the graph knows; the numbers
    # themselves it learns only when it runs.
    parts = tf.split(layout, [*ranks, *[1] * (2 * count)])
    shapes, sizes, starts = parts[:count], parts[count : 2 * count], parts[2 * count :]
    return [Place(*place) for place in zip(shapes, sizes, starts, strict=True)]


def take(
    vector: tf.Tensor, places: Sequence[Place], decays: Sequence[bool], weight_decay: float | tf.Tensor
) -> list[tf.Tensor]:
    """The weights in their shapes, with a gradient that decays those of which `decays` says so.

    Weight decay is part of the gradient here, since only here the shapes are known: to the
    optimizer a path's weights are one vector.
    """

    # Slices share the vector's memory where a split would copy it. But TensorFlow's gradient of
    # slices is a sum of vectors that are zero almost everywhere; this one is one concatenation.
    @tf.custom_gradient
    def unpack(flat):
        weights = [tf.reshape(tf.slice(flat, start, size), shape) for shape, size, start in places]

        def gradient(*upstream):
            # ∂(loss + decay/2 · Σ w²)/∂w = ∂loss/∂w + decay · w
            decayed = [
                g + weight_decay * w if decaying else g
                for g, w, decaying in zip(upstream, weights, decays, strict=True)
            ]
            return tf.concat([tf.reshape(g, [-1]) for g in decayed], 0)

        return weights, gradient

    return unpack(vector)
