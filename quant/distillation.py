"""Fine-tunes a fake-quantized network towards its float network and the labels."""

import dataclasses
from typing import Iterator

import tensorflow as tf
import tf_keras as keras

from nas_tf.data.preprocess import to_network_input


@dataclasses.dataclass
class FineTuner:
    """One optimizer step after another on a fake-quantized network.

    Attributes:
      float_model: the teacher; never changes.
      qat_model: the student.
      optimizer: built for the student's trainable weights.
      distillation: share of the loss from the teacher, in [0, 1].
    """

    float_model: keras.Model
    qat_model: keras.Model
    optimizer: keras.optimizers.Optimizer
    distillation: float

    def __post_init__(self):
        self._variables = list(self.qat_model.trainable_weights)
        self.optimizer.build(self._variables)
        # Without batch norm and dropout, `training` decides only whether ranges move.
        self._compiled = {moving: tf.function(lambda images, labels, moving=moving:
                                              self._step(images, labels, moving))
                          for moving in (False, True)}

    def step(self, images: tf.Tensor, labels: tf.Tensor, learning_rate: float,
             ranges_move: bool) -> tf.Tensor:
        """One step on uint8 images [N,R,R,3] and labels [N].

        Args:
          ranges_move: whether ranges follow these activations and kernels.

        Returns:
          The loss, a scalar tensor.
        """
        self.optimizer.learning_rate.assign(learning_rate)
        return self._compiled[ranges_move](images, labels)

    def _step(self, images: tf.Tensor, labels: tf.Tensor, ranges_move: bool) -> tf.Tensor:
        inputs = to_network_input(images)
        teacher = tf.stop_gradient(self.float_model(inputs, training=False))
        with tf.GradientTape() as tape:
            student = self.qat_model(inputs, training=ranges_move)
            loss = distillation_loss(teacher, student, labels, self.distillation)
        gradients = tape.gradient(loss, self._variables)
        self.optimizer.apply_gradients(zip(gradients, self._variables))
        return loss


def distillation_loss(teacher: tf.Tensor, student: tf.Tensor, labels: tf.Tensor,
                      share: float) -> tf.Tensor:
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
        probabilities * (tf.nn.log_softmax(teacher) - tf.nn.log_softmax(student)), axis=-1)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=student)
    return tf.reduce_mean(share * divergence + (1.0 - share) * entropy)


def inputs_of(batches: tf.data.Dataset, num_images: int) -> Iterator[tf.Tensor]:
    """Network inputs of the first `num_images` images of (uint8 images, labels) batches."""
    left = num_images
    for images, _ in batches:
        if left <= 0:
            return
        yield to_network_input(images[:left])
        left -= int(images.shape[0])
