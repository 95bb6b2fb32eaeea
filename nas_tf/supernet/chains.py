"""A chain of Keras layers that is computed with weights given as one flat vector.

The layers say what is computed; their own variables are never made. With the weights' shapes
as an argument too, one compiled graph serves all chains that differ in widths and kernel size.
"""

import functools
import itertools
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from nas_tf.supernet.chain_weights import layout_of, places_in, places_of, take, weights_of


class Averages(NamedTuple):
    """A batch norm's moving mean and variance, each [C]."""

    mean: tf.Tensor
    variance: tf.Tensor


class Chain:
    """Layers one after the other: convolutions, batch norms and layers without weights.

    Args:
      layers: in order, not built.
      channels: of the input.
      optional: runs of layers that other chains of the same form do without, as ranges of positions.
        A graph for the form runs such a group if its weights are not empty.
      absent: those of them that this chain does without.

    Attributes:
      weights: in the order of Keras' `trainable_weights`; empty for layers that are absent.
      layout: int32 vector that says where in the flat vector each of them lies.
      groups: all positions of layers in consecutive groups, and whether a group is optional.
      form: equal for chains that differ in nothing but the shapes of their weights.

    Raises:
      TypeError: a layer with weights of another kind.
    """

    def __init__(
        self,
        layers: Sequence[keras.layers.Layer],
        channels: int,
        optional: Collection[range] = (),
        absent: Collection[range] = (),
    ):
        self.layers = list(layers)
        self.groups = _groups(len(self.layers), optional)
        self.weights = weights_of(self.layers, channels, {i for group in absent for i in group})
        self._places = places_of(self.weights)
        self.layout = layout_of(self._places)
        self.form: Hashable = (tuple(map(_form, self.layers)), tuple(self.groups))

    def initial_weights(self) -> np.ndarray:
        """Fresh initial values, flat."""
        return np.concatenate([weight.initial() for weight in self.weights])

    def initial_statistics(self) -> np.ndarray:
        """Means of 0 and variances of 1, flat."""
        means_and_variances: list[list[float]] = [[0.0] * n + [1.0] * n for n in self._norm_sizes()]
        return np.array(sum(means_and_variances, []), np.float32)

    def unpack(self, weights: tf.Tensor) -> list[tf.Tensor]:
        """A flat vector's parts in their shapes, in the order of Keras' `trainable_weights`."""
        present = [weight for weight in self.weights if weight.size]
        parts = tf.split(weights, [weight.size for weight in present])
        return [tf.reshape(part, weight.shape) for part, weight in zip(parts, present, strict=True)]

    def unpack_statistics(self, statistics: tf.Tensor) -> list[tf.Tensor]:
        """Means and variances in the order of Keras' `non_trainable_weights`."""
        sizes = [size for size in self._norm_sizes() if size]
        return tf.split(statistics, np.repeat(sizes, 2)) if sizes else []

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
        averages = _by_layer(self.layers, _averages(values, statistics))

        def run_layers(positions: range, x: tf.Tensor):
            moved: list[tf.Tensor] = []
            for position in positions:
                layer, own = self.layers[position], values[position]
                # Layers of one chain differ in it: under mixed precision the last one, behind the
                # logits, stays float32.
                x = tf.cast(x, layer.compute_dtype)
                if isinstance(layer, keras.layers.BatchNormalization):
                    x, new = _batch_norm(layer, x, own, averages[position], training)
                    moved += new
                else:
                    x = compute(layer, x, own)
            return x, tf.concat(moved, 0) if moved else tf.zeros([0])

        every = []
        for positions, optional in self.groups:
            x, moved = self.if_present(
                positions, optional, values, functools.partial(run_layers, positions), (x,), tf.zeros([0])
            )
            every.append(moved)
        return x, tf.concat(every, 0) if len(every) > 1 else every[0]

    def if_present(
        self,
        positions: range,
        optional: bool,
        values: list[dict[str, tf.Tensor]],
        run: Callable[..., tuple],
        inputs: tuple,
        *otherwise: tf.Tensor,
    ) -> tuple:
        """`run(*inputs)`, or `(*inputs, *otherwise)` where the group's weights are empty.

        `run` returns as many tensors, of the same types.
        """
        if not optional:
            return run(*inputs)
        first = next(iter(values[positions[0]].values()))
        return tf.cond(tf.size(first) > 0, lambda: run(*inputs), lambda: (*inputs, *otherwise))

    def values(
        self, weights: tf.Tensor, layout: tf.Tensor | None = None, weight_decay: float | tf.Tensor = 0.0
    ) -> list[dict[str, tf.Tensor]]:
        """For every layer its weights by name, out of the flat vector.

        A gradient that comes back through them has decay · w added for kernels.
        """
        ranks = [len(weight.shape) for weight in self.weights]
        places = self._places if layout is None else places_in(layout, ranks)
        parts = take(weights, places, [weight.decays for weight in self.weights], weight_decay)
        by_layer: list[dict[str, tf.Tensor]] = [{} for _ in self.layers]
        for weight, part in zip(self.weights, parts, strict=True):
            by_layer[weight.layer][weight.name] = part
        return by_layer

    def _norm_sizes(self) -> list[int]:
        """Channels of each batch norm."""
        return [weight.size for weight in self.weights if weight.name == "gamma"]


def compute(layer: keras.layers.Layer, x: tf.Tensor, weights: dict[str, tf.Tensor]) -> tf.Tensor:
    """A layer's output with these weights; any layer of a chain but batch norm."""
    # Weights are kept in float32, so that small updates are not lost in bfloat16's eight bits.
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


def _form(layer: keras.layers.Layer) -> Hashable:
    """All of a layer that its graph depends on but the shapes of its weights."""
    # Depthwise kernels of any size are one form; dense ones of 1×1 can be computed in ways that
    # others cannot (`gate_values`).
    is_dense = isinstance(layer, keras.layers.Conv2D) and not isinstance(layer, keras.layers.DepthwiseConv2D)
    return (
        type(layer).__name__,
        layer.compute_dtype,
        *(getattr(layer, name, None) for name in ("strides", "padding", "use_bias")),
        # An array in Keras, which has no hash.
        None if getattr(layer, "max_value", None) is None else float(layer.max_value),
        is_dense and layer.kernel_size == (1, 1),
    )


def _groups(count: int, optional: Collection[range]) -> list[tuple[range, bool]]:
    found, start = [], 0
    for group in sorted(optional, key=lambda positions: positions.start):
        if group.start > start:
            found.append((range(start, group.start), False))
        found.append((group, True))
        start = group.stop
    return [*found, (range(start, count), False)] if start < count else found


def _by_layer(
    layers: Sequence[keras.layers.Layer], averages: Iterable[Averages | None]
) -> dict[int, Averages | None]:
    """Position of each batch norm → its averages."""
    norms = (i for i, layer in enumerate(layers) if isinstance(layer, keras.layers.BatchNormalization))
    return dict(zip(norms, averages, strict=False))


def _averages(values: list[dict[str, tf.Tensor]], statistics: tf.Tensor | None) -> Iterable[Averages | None]:
    """Each batch norm's averages out of the flat vector; None for ever without one.

    A mean and a variance are as long as the scale γ of the same batch norm, whose shape may be
    known only when the graph runs.
    """
    if statistics is None:
        return itertools.repeat(None)
    channels = [tf.size(own["gamma"]) for own in values if "gamma" in own]
    if not channels:
        return []
    sizes = [size for size in channels for _ in Averages._fields]
    parts = tf.split(statistics, tf.stack(sizes), num=len(sizes))
    return map(Averages, parts[::2], parts[1::2])


def _batch_norm(
    layer: keras.layers.BatchNormalization,
    x: tf.Tensor,
    weights: dict[str, tf.Tensor],
    averages: Averages | None,
    training: bool,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """(y, [mean, variance] of the batch or, where there are averages, these once moved).

    y = γ (x − mean) / √(variance + ε) + β  and, in training,  averages ← μ·averages + (1 − μ)·batch's.
    """
    mean, variance = averages or (tf.zeros([0]), tf.zeros([0]))
    # Not Keras' layer, which would have variables of its own and move them at once. Here the new
    # averages are a result: the step assigns them, and an architecture step, which must move none,
    # drops them.
    # The operation's factor is 1 − μ. With 1 it returns the batch's own and reads no averages.
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
