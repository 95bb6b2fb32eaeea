"""Fine-tunes a fake-quantized network towards its float network and the labels."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tf_keras as keras

from nas_tf.data.preprocess import to_network_input
from nas_tf.distribute.shards import Shards, pack, unpack
from quant import int8
from quant.accumulator import NEARLY_LEAST
from quant.bias import least_scales
from quant.keras_graph import consumers
from quant.quantizer_list import (
    ActivationRange,
    KernelRange,
    activation_ranges,
    following_range,
    kernel_ranges,
)


@dataclasses.dataclass(frozen=True)
class LossShares:
    """What the loss is made of.

    Attributes:
      distillation: share of the float network's outputs against the labels, in [0, 1].
      features: weight of the relative error of the inner tensors and the logits.
    """

    distillation: float = 1.0
    features: float = 1.0


class FineTuner:
    """One optimizer step after another on a fake-quantized network.

    Weights move in units of their own int8 steps: one learning rate then means the same to a
    channel of large and to one of small weights, and a weight can reach the next integer in
    the same number of steps everywhere.

    Args:
      teacher: a float network with the layer names of the student's; never changes.
      qat_model: the student, its ranges set.
      shares: what the loss is made of.
      gains: layer → gains [channels] by which the student's output there is the teacher's
        multiplied (`quant.equalization`).
      shards: the equal parts of a batch whose gradients, and ranges, are averaged.
    """

    def __init__(
        self,
        teacher: keras.Model,
        qat_model: keras.Model,
        shares: LossShares,
        gains: dict[str, np.ndarray] | None = None,
        shards: Shards | None = None,
    ):
        self._shares, self._shards = shares, shards or Shards(1)
        compared = _compared(teacher, qat_model)
        # One pass gives the logits and all inner tensors.
        self._teacher = keras.Model(
            teacher.input, [teacher.output, *(teacher.get_layer(r.source).output for r in compared)]
        )
        self._gains = [np.float32((gains or {}).get(r.source, 1.0)) for r in compared]
        self._student = keras.Model(qat_model.input, [qat_model.output, *(r.layer.output for r in compared)])
        self._weights, self._units = trainable_units(qat_model)
        self._kernels = kernel_ranges(qat_model)
        self._least = [least_scales(qat_model, kernel) for kernel in self._kernels]
        self._moves = [tf.Variable(tf.zeros_like(w), name="move") for w in self._weights]
        # The optimizer sees moves from zero and not the weights, so that its memory, too, is in steps.
        # Gradients per int8 step are far smaller than Adam's usual epsilon, which would rule.
        self.optimizer = keras.optimizers.Adam(epsilon=1e-12, jit_compile=False)
        self.optimizer.build(self._moves)
        trained = {id(weight) for weight in self._weights}
        self._ranges = [v for v in qat_model.weights if id(v) not in trained and v.dtype.is_floating]
        # Without batch norm and dropout, `training` decides only whether ranges move.
        self._compiled = {
            moving: tf.function(lambda images, labels, moving=moving: self._step(images, labels, moving))
            for moving in (False, True)
        }
        self._part = {
            moving: tf.function(
                lambda images, labels, moving=moving: self._part_of_step(images, labels, moving)
            )
            for moving in (False, True)
        }
        self._move = {
            moving: tf.function(lambda total, moving=moving: self._move_by_sum(total, moving))
            for moving in (False, True)
        }

    def step(
        self, images: tf.Tensor, labels: tf.Tensor, learning_rate: float, ranges_move: bool = False
    ) -> tf.Tensor:
        """One step on uint8 images [N,R,R,3] and labels [N].

        Args:
          learning_rate: in int8 steps of each weight.
          ranges_move: whether ranges follow these activations and kernels.

        Returns:
          The loss, a scalar tensor.
        """
        # Into its variable, so that a new rate does not trace the step anew.
        self.optimizer.learning_rate.assign(learning_rate)
        if self._shards.count == 1:
            return self._compiled[ranges_move](images, labels)
        part = self._part[ranges_move]
        total = self._shards.sum(lambda images, labels, _: part(images, labels), images, labels)
        return self._move[ranges_move](total)

    def _step(self, images: tf.Tensor, labels: tf.Tensor, ranges_move: bool) -> tf.Tensor:
        loss, gradients = self._loss_and_gradients(images, labels, ranges_move)
        self._apply(gradients)
        return loss

    def _part_of_step(self, images: tf.Tensor, labels: tf.Tensor, ranges_move: bool) -> tf.Tensor:
        """Loss, gradients and, where they move, new ranges of one part; changes nothing."""
        ranges = self._ranges if ranges_move else []
        before = [tf.identity(variable) for variable in ranges]
        loss, gradients = self._loss_and_gradients(images, labels, ranges_move)
        # Quantizers move their ranges when they are called. They go back: the step moves them by what
        # all parts found.
        after = [tf.identity(variable) for variable in ranges]
        for variable, value in zip(ranges, before, strict=True):
            variable.assign(value)
        return pack([loss, *gradients, *after])

    def _move_by_sum(self, total: tf.Tensor, ranges_move: bool) -> tf.Tensor:
        """The step that follows from the sum over all parts."""
        ranges, mean = self._ranges if ranges_move else [], total / self._shards.count
        found = unpack(mean[1:], [*self._weights, *ranges])
        for variable, value in zip(ranges, found[len(self._weights) :], strict=True):
            variable.assign(value)
        self._apply(found[: len(self._weights)])
        return mean[0]

    def _loss_and_gradients(self, images: tf.Tensor, labels: tf.Tensor, ranges_move: bool):
        inputs = to_network_input(images)
        expected, *features = self._teacher(inputs, training=False)
        with tf.GradientTape() as tape:
            logits, *found = self._student(inputs, training=ranges_move)
            loss = distillation_loss(expected, logits, labels, self._shares.distillation)
            if self._shares.features:
                wanted = [tensor * gain for tensor, gain in zip(features, self._gains, strict=True)]
                loss += self._shares.features * feature_loss(wanted, found)
        return loss, tape.gradient(loss, self._weights)

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        # With w = unit · u: dL/du = unit · dL/dw, and a move of u moves w by unit times it.
        self.optimizer.apply_gradients(
            [(g * unit, move) for g, unit, move in zip(gradients, self._units, self._moves, strict=True)]
        )
        for weight, unit, move in zip(self._weights, self._units, self._moves, strict=True):
            weight.assign_add(unit * move)
            move.assign(tf.zeros_like(move))
        keep_full_range(self._kernels, self._least)


def distillation_loss(teacher: tf.Tensor, student: tf.Tensor, labels: tf.Tensor, share: float) -> tf.Tensor:
    """share · KL(teacher ‖ student) + (1 − share) · cross-entropy(labels), mean over images.

    Args:
      teacher, student: logits [N, classes].
      labels: int64 [N].
      share: in [0, 1].

    Source: Hinton et al. 2015, at temperature 1.
    """
    probabilities = tf.nn.softmax(teacher)
    # KL = Σ p · (log p − log q)
    divergence = tf.reduce_sum(
        probabilities * (tf.nn.log_softmax(teacher) - tf.nn.log_softmax(student)), axis=-1
    )
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=student)
    return tf.reduce_mean(share * divergence + (1.0 - share) * entropy)


def feature_loss(teacher: list[tf.Tensor], student: list[tf.Tensor]) -> tf.Tensor:
    """Mean over tensors of Σ (student − teacher)² / Σ teacher², the inverse of their SNR."""
    ratios = [
        # 1e-6, so that a tensor of zeros does not divide by zero.
        tf.reduce_sum(tf.square(s - t)) / (tf.reduce_sum(tf.square(t)) + 1e-6)
        for t, s in zip(teacher, student, strict=True)
    ]
    return tf.add_n(ratios) / len(ratios)


def trainable_units(model: keras.Model) -> tuple[list[tf.Variable], list[np.ndarray]]:
    """The kernels and biases of a fake-quantized model, and the unit that each moves in.

    A kernel's unit is its int8 step, one per channel or one per tensor; a bias's the int8 step of the
    layer's output.
    """
    weights, units = [], []
    for kernel in kernel_ranges(model):
        weights.append(kernel.kernel)
        units.append(kernel.unit.numpy())
        if kernel.bias is not None:
            weights.append(kernel.bias)
            units.append(np.float32(following_range(model, kernel.layer).scale))
    return weights, units


def keep_full_range(kernels: list[KernelRange], least: list[np.ndarray]) -> None:
    """Puts each channel's largest weight back to 127 steps where it has shrunk.

    Ranges stay while weights move; a channel whose largest weight left the end of its range
    would waste the integers beyond it. Not where the step is its bias's (`quant.bias`): there
    the largest weight was never at the end. `least`: those steps, for each kernel.
    """
    most = float(int8.KERNEL_HIGH)
    for kernel, smallest in zip(kernels, least, strict=True):
        steps = tf.math.divide_no_nan(kernel.kernel, kernel.unit)
        rank = steps.shape.rank
        # Over all axes but the channels', or over the whole kernel where it has one range.
        axes = [a for a in range(rank) if kernel.per_tensor or a != kernel.channel_axis % rank]
        largest = tf.reduce_max(tf.abs(steps), axis=axes, keepdims=True)
        full = tf.sign(steps) * most * kernel.unit
        bound = np.float32(smallest.max() if kernel.per_tensor else smallest)
        filled = kernel.maximum > most * NEARLY_LEAST * bound
        shrunk = (tf.abs(steps) == largest) & (largest < most) & kernel.against_kernel(filled)
        kernel.kernel.assign(tf.where(shrunk, full, kernel.kernel))


def inputs_of(batches: tf.data.Dataset, num_images: int) -> Iterator[tf.Tensor]:
    """Network inputs of the first `num_images` images of (uint8 images, labels) batches."""
    left = num_images
    for images, _ in batches:
        if left <= 0:
            return
        yield to_network_input(images[:left])
        left -= int(images.shape[0])


def _compared(teacher: keras.Model, qat_model: keras.Model) -> list[ActivationRange]:
    """The inner tensors whose error counts: those of bottlenecks and sums, the pooled one, the logits.

    Not what passes through a ReLU: an equalized student gives min(gain · x, 6) where the teacher's
    times the gain is gain · min(x, 6), so that images beyond the range would pull at weights that
    are right.
    """

    def counts(layer: keras.layers.Layer) -> bool:
        around = (layer, *consumers(layer))
        return not isinstance(layer, keras.layers.InputLayer) and not any(
            isinstance(near, keras.layers.ReLU) for near in around
        )

    return [r for r in activation_ranges(qat_model) if counts(teacher.get_layer(r.source))]
