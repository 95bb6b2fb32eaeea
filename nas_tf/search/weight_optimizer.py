"""The optimizer of the shared weights, which moves one path at a time."""

import tensorflow as tf

from nas_tf.supernet.paths import Path
from nas_tf.supernet.supernet import Supernet
from nas_tf.train.optimizers import MOMENTUM, WEIGHT_DECAY, NesterovSgd


class WeightOptimizer(NesterovSgd):
    """`NesterovSgd` on the paths that it is given and no others.

    A path that was not sampled keeps its weights and its momentum, without decay.

    Attributes:
      weight_decay: to be part of the gradients that `update_path` is given.
    """

    def __init__(self, supernet: Supernet, momentum: float = MOMENTUM, weight_decay: float = WEIGHT_DECAY):
        # Slots go by the names of paths, which checkpoints know them by.
        super().__init__({path.name: path.trained for path in supernet.all_paths()}, momentum)
        self.weight_decay = weight_decay

    def resources(self, path: Path) -> tuple[tf.Tensor, tf.Tensor]:
        """Handles of the path's weights and of their momentum."""
        return path.trained.handle, self.slots[path.name].handle

    def update_path(self, resources: tuple[tf.Tensor, ...], gradient: tf.Tensor, rate: tf.Tensor) -> None:
        """One update of a path's weights."""
        self.update_resource(*resources, gradient, rate)
