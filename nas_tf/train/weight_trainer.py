"""Steps of supervised training on a compact network."""

import math
from typing import Any

import tensorflow as tf
import tf_keras as keras

from nas_tf.base.errors import UserError
from nas_tf.data import preprocess
from nas_tf.distribute.shards import Shards, pack, unpack
from nas_tf.network.losses import cross_entropy
from nas_tf.train import optimizers
from nas_tf.train.accuracy import AccuracyCounter
from nas_tf.train.config import WeightStep
from nas_tf.train.moving_average import MovingAverage

ADVICE = "use a smaller --learning_rate, or --warmup_epochs, in another --workdir"


class WeightTrainer:
    """A network in training, with all of its state.

    Args:
      model: from `build_network`, without dropout.
      config: how a step changes the weights.
      seed: of dropout.
      shards: the equal parts of a batch that are normalized apart, and whose gradients are averaged.
    """

    def __init__(self, model: keras.Model, config: WeightStep, seed: int, shards: Shards | None = None):
        self.model = model
        self._config, self._seed, self._shards = config, seed, shards or Shards(1)
        # Dropout stands between these two, drawn from (seed, step): Keras' own layer keeps
        # its random state outside of checkpoints.
        features = model.get_layer("logits").input
        self._features = keras.Model(model.input, features)
        self._classifier = [model.get_layer("logits"), model.get_layer("flatten")]
        self._optimizer = optimizers.NesterovSgd(
            {str(index): variable for index, variable in enumerate(model.trainable_variables)}
        )
        self._average = MovingAverage(model, config.ema_decay)
        # Sums over the epoch so far: loss, correct, examples.
        self._sums = tf.Variable(tf.zeros([3], tf.float64), trainable=False)
        # None leaves it to TensorFlow, which on a TPU takes XLA; False would forbid it there too.
        self._step = tf.function(self._train_step, jit_compile=config.jit_compile or None)
        self._part = tf.function(self._part_of_step, jit_compile=config.jit_compile or None)
        self._move = tf.function(self._move_by_sum)
        # One trace for all batches: the last one of a split is smaller.
        self._predict = tf.function(self._logits, reduce_retracing=True)

    def trackables(self) -> dict[str, Any]:
        """Everything with state, for a checkpoint."""
        return {
            "model": self.model,
            "optimizer": self._optimizer,
            "average": self._average,
            "sums": self._sums,
        }

    def step(self, images: tf.Tensor, labels: tf.Tensor, step: int, learning_rate: float) -> None:
        """One optimizer step on a batch of uint8 images; `step` is its 0-based number."""
        # As tensors: of Python numbers, each new one would be traced anew.
        count, rate = tf.constant(step, tf.int64), tf.constant(learning_rate)
        if self._shards.count == 1:
            self._step(images, labels, count, rate)
            return
        total = self._shards.sum(
            lambda *part: self._part(*part[:2], count, tf.constant(part[2], tf.int64)), images, labels
        )
        size = tf.constant(self._shards.whole(int(labels.shape[0])))
        self._move(total, size, count, rate)

    def figures(self) -> dict[str, float]:
        """Mean `loss` and `train_top1` over the epoch so far; `UserError` once it diverged."""
        loss, correct, examples = self._sums.numpy().tolist()
        if not math.isfinite(loss):
            raise UserError(f"The training loss is no longer a finite number; {ADVICE}.")
        examples = max(examples, 1)
        return {"loss": loss / examples, "train_top1": correct / examples}

    def begin_epoch(self) -> None:
        """Clears the sums behind `figures`."""
        self._sums.assign(tf.zeros_like(self._sums))

    def averaged(self):
        """A context in which the model has its averaged weights, if it keeps any."""
        return self._average.in_place()

    def evaluate(self, batches) -> AccuracyCounter:
        """Accuracy of the model as it stands on (uint8 images, labels) batches."""
        counter = AccuracyCounter()
        counter.add_all((self._predict(images), labels) for images, labels in batches)
        return counter

    def _logits(self, images: tf.Tensor) -> tf.Tensor:
        return self.model(preprocess.to_network_input(images), training=False)

    def _train_step(self, images, labels, step, learning_rate) -> None:
        loss, correct, gradients = self._loss_and_gradients(images, labels, step)
        self._update(loss, correct, gradients, tf.shape(labels)[0], step, learning_rate)

    def _part_of_step(self, images, labels, step, part) -> tf.Tensor:
        """Loss, correct predictions, gradients and new statistics of one part; changes nothing."""
        statistics = self.model.non_trainable_variables
        before = [tf.identity(variable) for variable in statistics]
        # A draw of dropout for each part; with one part, that of a whole batch.
        draw = step * self._shards.count + part
        loss, correct, gradients = self._loss_and_gradients(images, labels, draw)
        # Keras moves the statistics when the network is called. They go back: the step moves them by
        # what all parts found.
        after = [tf.identity(variable) for variable in statistics]
        for variable, value in zip(statistics, before, strict=True):
            variable.assign(value)
        return pack([loss, correct, *gradients, *after])

    def _move_by_sum(self, total, images, step, learning_rate) -> None:
        """The step that follows from the sum over all parts."""
        variables, statistics = self.model.trainable_variables, self.model.non_trainable_variables
        # Correct predictions are counted, all else is a mean of means.
        correct, mean = total[1], total / self._shards.count
        found = unpack(mean[2:], [*variables, *statistics])
        for variable, value in zip(statistics, found[len(variables) :], strict=True):
            variable.assign(value)
        self._update(mean[0], correct, found[: len(variables)], images, step, learning_rate)

    def _loss_and_gradients(self, images, labels, draw):
        with tf.GradientTape() as tape:
            logits = self._training_logits(images, draw)
            # As a tensor, for a number would be another constant in float32's last place.
            smoothing = tf.constant(self._config.label_smoothing)
            loss, correct = cross_entropy(logits, labels, smoothing)
        return loss, correct, tape.gradient(loss, self.model.trainable_variables)

    def _update(self, loss, correct, gradients, images, step, learning_rate) -> None:
        variables = self.model.trainable_variables
        gradients = optimizers.with_weight_decay(gradients, variables, self._config.weight_decay)
        for index, (variable, gradient) in enumerate(zip(variables, gradients, strict=True)):
            self._optimizer.update(str(index), variable, gradient, learning_rate)
        if self._config.ema_decay:
            self._average.update(step)
        self._count(loss, correct, images)

    def _training_logits(self, images, step) -> tf.Tensor:
        x = self._features(preprocess.to_network_input(images), training=True)
        if self._config.dropout:
            x = tf.nn.experimental.stateless_dropout(
                x, self._config.dropout, tf.stack([tf.constant(self._seed, tf.int64), step])
            )
        for layer in self._classifier:
            x = layer(x)
        return x

    def _count(self, loss, correct, examples) -> None:
        correct, examples = (tf.cast(number, tf.float64) for number in (correct, examples))
        self._sums.assign_add(tf.stack([tf.cast(loss, tf.float64) * examples, correct, examples]))
