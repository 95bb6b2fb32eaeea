"""Moving what a weight step trained: weights by the optimizer, statistics to their new averages."""

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

from nas_tf.supernet.paths import Path


class PathOptimizer(Protocol):
    """What a weight step needs of an optimizer.

    Attributes:
      weight_decay: of kernels; the step puts it into the gradients that `update_path` is given.
    """

    weight_decay: float

    def resources(self, path: Path) -> tuple[tf.Tensor, ...]:
        """Handles of the path's weights and of whatever else an update of them changes."""

    def update_path(self, resources: tuple[tf.Tensor, ...], gradient: tf.Tensor, rate: tf.Tensor) -> None:
        """Moves a path's weights, eagerly or in a graph.

        Args:
          resources: the path's `resources`.
          gradient: float32, of the loss and the decay in `path.trained`, of the same shape.
          rate: float32 [].
        """


def move_paths(
    optimizer: PathOptimizer,
    paths: Sequence[Path],
    gradients: Sequence[tf.Tensor],
    statistics: Sequence[tf.Tensor],
    learning_rate: float,
) -> None:
    """Updates paths by their gradients, and assigns their new statistics."""
    rate = tf.constant(learning_rate, tf.float32)
    for path, gradient, moved in zip(paths, gradients, statistics, strict=True):
        optimizer.update_path(optimizer.resources(path), gradient, rate)
        # The bare operation, as in `value_of`: this runs for every path in every step.
        tf.raw_ops.AssignVariableOp(resource=path.statistics.handle, value=moved)
