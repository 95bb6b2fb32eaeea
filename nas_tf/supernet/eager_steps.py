"""Losses and gradients of a sampled network, path after path.

Eager code around functions compiled for one path each: what XLA, which has to know all shapes,
can compile without compiling every network.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from nas_tf.network.losses import cross_entropy
from nas_tf.supernet.gate_values import moments_of
from nas_tf.supernet.paths import value_of
from nas_tf.supernet.supernet import Supernet
from nas_tf.supernet.updates import PathOptimizer, move_paths

# Blocks have many shapes; one trace that knows none of them serves all.
_moments = tf.function(moments_of, reduce_retracing=True)


class EagerSteps:
    """See `nas_tf.supernet.steps`, whose functions call these."""

    def __init__(self, supernet: Supernet):
        self.supernet = supernet

    def train(
        self,
        optimizer: PathOptimizer,
        images: tf.Tensor,
        labels: tf.Tensor,
        active: Sequence[int],
        learning_rate: float,
        smoothing: float,
    ):
        """(loss, correct) before the step that it makes of the paths of `active`."""
        found = self.weight_gradients(images, labels, active, smoothing, optimizer.weight_decay)
        loss, hits, gradients, moved = found
        move_paths(optimizer, self.supernet.active_paths(active), gradients, moved, learning_rate)
        return loss, hits

    def weight_gradients(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        active: Sequence[int],
        smoothing: float,
        weight_decay: float,
    ):
        """(loss, correct, gradients of loss + decay/2 · Σ kernels², new statistics).

        The latter two are one vector for each path of `supernet.active_paths(active)`.
        """
        paths = self.supernet.active_paths(active)
        # Only what was sampled is on the tape and gets a gradient: with a gradient of zero, momentum and
        # decay would still move the other paths.
        weights = [value_of(path.trained) for path in paths]
        moved, x, decay = [], images, tf.constant(weight_decay)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            for path, values in zip(paths, weights, strict=True):
                branch, statistics = path.train(x, values, decay)
                moved.append(statistics)
                x = path.join(x, branch)
            loss, hits = cross_entropy(x, labels, smoothing)
        return loss, hits, tape.gradient(loss, weights), moved

    def gate_gradients(
        self, images: tf.Tensor, labels: tf.Tensor, involved: np.ndarray, active: Sequence[int]
    ):
        """(loss, correct, (block, candidate) of the involved paths but ZeroOps, their ∂L/∂g [paths])."""
        net = self.supernet
        # Outside of the tape: nothing before the first searched block needs a gradient.
        x = net.stem.frozen(images)
        inputs, branches, outputs = [net.first.join(x, net.first.frozen(x))], [], []
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs[0])  # and no weight: what flows back are gradients of blocks' outputs
            for block, index in zip(net.blocks, active, strict=True):
                x, path = inputs[-1], block.paths[index]
                branches.append(tf.zeros_like(x) if path is None else path.frozen(x))
                # A copy, since the gradient is asked for of outputs: x is that of the block before.
                outputs.append(tf.identity(x) if path is None else path.join(x, branches[-1]))
                inputs.append(outputs[-1])
            # Without label smoothing, which in the authors' code belongs to weight steps alone.
            loss, hits = cross_entropy(net.after.frozen(inputs[-1]), labels)
        found = {}
        for b, gradient in enumerate(tape.gradient(loss, outputs)):
            moments = _moments(inputs[b])
            for k in np.flatnonzero(involved[b]):
                path = net.blocks[b].paths[k]
                # The forward pass has this F(x) already, so the active path's gate costs nothing more.
                if k == active[b]:
                    found[b, k] = product(branches[b], gradient)
                elif path is not None:
                    found[b, k] = path.gate_gradient(inputs[b], gradient, moments)
        return loss, hits, list(found), tf.stack(list(found.values())) if found else tf.zeros([0])


def product(branch: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """∂L/∂g = Σ F(x) · ∂L/∂y, in float32."""
    return tf.reduce_sum(tf.cast(branch, tf.float32) * tf.cast(gradient, tf.float32))
