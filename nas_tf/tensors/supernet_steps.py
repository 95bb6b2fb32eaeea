"""One step on the supernet: of the sampled network's weights, or towards the gates' gradients.

Eager code around small compiled functions: only what was sampled is computed, recorded and
updated, so a step costs what it costs on the compact network.
"""

from typing import Sequence

import numpy as np
import tensorflow as tf

from nas_tf.tensors.paths import Path
from nas_tf.tensors.supernet import Supernet
from nas_tf.training.optimizers import MOMENTUM, WEIGHT_DECAY


@tf.function
def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: float = 0.0):
    """(mean cross-entropy with smoothed labels, number of correct predictions).

    Targets are (1 − s) · one-hot + s / classes (Szegedy et al., 2016).
    """
    num_classes = logits.shape[-1]
    targets = tf.one_hot(labels, num_classes) * (1.0 - smoothing) + smoothing / num_classes
    loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
    hits = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int64), tf.cast(labels, tf.int64))
    return loss, tf.reduce_sum(tf.cast(hits, tf.float32))


class WeightOptimizer(tf.Module):
    """SGD with Nesterov momentum that touches the paths it is given and no others.

        m ← μ·m + g,  w ← w − η·(g + μ·m),  g = ∂L/∂w + decay·w (kernels only)

    A path that was not sampled keeps its weights and its momentum, without decay.
    """

    def __init__(self, supernet: Supernet, momentum: float = MOMENTUM,
                 weight_decay: float = WEIGHT_DECAY):
        super().__init__(name="weight_optimizer")
        self._momentum = tf.constant(momentum)
        self._decay = {id(path.kind): weight_decay * path.kind.decay_mask
                       for path in supernet.all_paths()}
        self.slots = {path.name: tf.Variable(tf.zeros_like(path.trained), trainable=False)
                      for path in supernet.all_paths()}

    def update(self, path: Path, values: tf.Tensor, gradient: tf.Tensor, rate: tf.Tensor) -> None:
        """One update of a path's weights; `values` are their current ones."""
        decay = tf.raw_ops.Mul(x=values, y=self._decay[id(path.kind)])
        tf.raw_ops.ResourceApplyMomentum(
            var=path.trained.handle, accum=self.slots[path.name].handle, lr=rate,
            grad=tf.raw_ops.AddV2(x=gradient, y=decay), momentum=self._momentum,
            use_nesterov=True)


def weight_step(supernet: Supernet, optimizer: WeightOptimizer, images: tf.Tensor,
                labels: tf.Tensor, active: Sequence[int], learning_rate: float,
                smoothing: float = 0.1) -> tuple[float, float]:
    """One step of the weights of the network with candidates `active`.

    Args:
      images: float32 [N, H, W, 3]; labels: int64 [N].

    Returns:
      (loss, correct predictions) before the step.
    """
    paths = supernet.active_paths(active)
    weights = [path.read() for path in paths]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        logits, averages = _forward(paths, weights, images)
        loss, hits = cross_entropy(logits, labels, smoothing)
    gradients = tape.gradient(loss, weights)
    rate = tf.constant(learning_rate, tf.float32)
    for path, values, gradient, moved in zip(paths, weights, gradients, averages, strict=True):
        optimizer.update(path, values, gradient, rate)
        tf.raw_ops.AssignVariableOp(resource=path.statistics.handle, value=moved)
    return float(loss), float(hits)


def _forward(paths: Sequence[Path], weights: list[tf.Tensor], x: tf.Tensor):
    """(output, new statistics of each path) of paths in a chain; a ZeroOp is not a link of it."""
    averages = []
    for path, values in zip(paths, weights, strict=True):
        branch, moved = path.train(x, values)
        averages.append(moved)
        x = path.join(x, branch)
    return x, averages


def gate_gradients(supernet: Supernet, images: tf.Tensor, labels: tf.Tensor,
                   involved: np.ndarray, active: Sequence[int],
                   ) -> tuple[float, float, np.ndarray]:
    """∂L/∂g of the involved gates at the binary gates `active`; nothing is assigned.

    The gradient that flows on to earlier blocks goes through the active path alone. Inactive
    paths are computed one by one once ∂L/∂y is known, and never kept.

    Args:
      involved: bool [blocks, candidates].

    Returns:
      (loss: plain cross-entropy, correct predictions, float64 [blocks, candidates] with 0 for
      gates not involved and for ZeroOp).
    """
    fixed = [supernet.stem, supernet.first]
    inputs, outputs = [_forward(fixed, [path.read() for path in fixed], images)[0]], []
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(inputs[0])
        for block, index in zip(supernet.blocks, active, strict=True):
            x, path = inputs[-1], block.paths[index]
            outputs.append(tf.identity(x) if path is None else path.join(x, path.frozen(x)))
            inputs.append(outputs[-1])
        loss, hits = cross_entropy(supernet.after.frozen(inputs[-1]), labels)
    output_gradients = tape.gradient(loss, outputs)
    result: dict[tuple[int, int], tf.Tensor] = {}
    for b, k in np.argwhere(involved):
        path = supernet.blocks[b].paths[k]
        if path is not None:
            result[b, k] = path.gate_gradient(inputs[b], output_gradients[b])
    gradients = np.zeros(involved.shape)
    for (b, k), value in result.items():
        gradients[b, k] = float(value)
    return float(loss), float(hits), gradients
