"""One step on the supernet: of the sampled network's weights, or towards the gates' gradients.

Only what was sampled is computed, recorded and updated, so a step costs what it costs on the
compact network.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from nas_tf.distribute.shards import Shards, pack, unpack
from nas_tf.supernet.eager_steps import EagerSteps
from nas_tf.supernet.graph_steps import GraphSteps
from nas_tf.supernet.supernet import Supernet
from nas_tf.supernet.updates import PathOptimizer, move_paths

Steps = EagerSteps | GraphSteps


def make_steps(supernet: Supernet) -> Steps:
    """How this supernet's losses and gradients are computed."""
    return EagerSteps(supernet) if supernet.jit_compile else GraphSteps(supernet)


def weight_step(
    steps: Steps,
    optimizer: PathOptimizer,
    images: tf.Tensor,
    labels: tf.Tensor,
    active: Sequence[int],
    learning_rate: float,
    smoothing: float = 0.1,
    shards: Shards | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """One step of the weights of the network with candidates `active`.

    Args:
      images: float32 [N, H, W, 3]; labels: int64 [N].
      shards: the parts of the batch that are normalized apart, of which these images are this
        process's; None: one part.

    Returns:
      (loss, correct predictions) before the step, of the whole batch: scalars that nobody has read yet,
      so that a fast device need not be waited for.
    """
    if shards is None or shards.count == 1:
        return steps.train(optimizer, images, labels, active, learning_rate, smoothing)
    paths = steps.supernet.active_paths(active)

    def packed(images, labels, _):
        found = steps.weight_gradients(images, labels, active, smoothing, optimizer.weight_decay)
        loss, hits, gradients, moved = found
        return pack([loss, hits, *gradients, *moved])

    total = shards.sum(packed, images, labels)
    # Correct predictions are counted, all else is a mean of means.
    hits, mean = total[1], total / shards.count
    vectors = [path.trained for path in paths] + [path.statistics for path in paths]
    found = unpack(mean[2:], vectors)
    move_paths(optimizer, paths, found[: len(paths)], found[len(paths) :], learning_rate)
    return mean[0], hits


def gate_gradients(
    steps: Steps,
    images: tf.Tensor,
    labels: tf.Tensor,
    involved: np.ndarray,
    active: Sequence[int],
    shards: Shards | None = None,
) -> tuple[float, float, np.ndarray]:
    """∂L/∂g of the involved gates at the binary gates `active`; nothing is assigned.

    The gradient that flows on to earlier blocks goes through the active path alone. Inactive
    paths are computed once ∂L/∂y is known, and never kept.

    Args:
      involved: bool [blocks, candidates].
      shards: as of `weight_step`.

    Returns:
      (loss: plain cross-entropy, correct predictions, float64 [blocks, candidates] with 0 for
      gates not involved and for ZeroOp).
    """
    places: list[tuple[int, int]] = []  # the same ones on every part

    def found_on(images, labels, _):
        loss, hits, places[:], values = steps.gate_gradients(images, labels, involved, active)
        return pack([loss, hits, values])

    shards = shards or Shards(1)
    total = found_on(images, labels, 0) if shards.count == 1 else shards.sum(found_on, images, labels)
    # All of it is float32, so nothing is lost by the vector, which is read once.
    loss, hits, *values = total.numpy().astype(np.float64).tolist()
    gradients = np.zeros(involved.shape)
    for place, value in zip(places, values, strict=True):
        gradients[place] = value
    return loss / shards.count, hits, gradients / shards.count
