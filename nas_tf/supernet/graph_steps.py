"""Losses and gradients of a sampled network in one graph for all networks of the space.

A graph that branched over candidates (`tf.switch_case`) would hold all of them: slow to build
and large. Here a block is one call of a function that knows no shapes; which candidate runs is
said by the weights that are handed to it and by their shapes. Only ZeroOp is a branch.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nas_tf.network.losses import cross_entropy
from nas_tf.supernet.eager_steps import product
from nas_tf.supernet.gate_values import moments_of
from nas_tf.supernet.paths import Path, PathFunctions, value_of
from nas_tf.supernet.supernet import Supernet

# Inactive paths computed at a time: a bound on what they hold. With two, cores wait for each other
# (BUILD_NOTES.md, "Search: what was measured").
_AT_ONCE = 4
_VECTOR = tf.TensorSpec([None], tf.float32)
_LAYOUT = tf.TensorSpec([None], tf.int32)


@dataclasses.dataclass(frozen=True)
class _Place:
    """A block, or a fixed part, of every network.

    Attributes:
      may_be_zero: whether ZeroOp is offered; such blocks have a shortcut.
    """

    functions: PathFunctions
    has_shortcut: bool
    may_be_zero: bool


class _Operand(NamedTuple):
    """A path as the graph sees it; for ZeroOp all but `present` is empty."""

    present: tf.Tensor
    weights: tf.Tensor
    layout: tf.Tensor


class GraphSteps:
    """See `nas_tf.supernet.steps`, whose functions call these."""

    def __init__(self, supernet: Supernet):
        self.supernet = supernet
        self._places = [
            _place([supernet.stem]),
            _place([supernet.first]),
            *(_place(block.paths) for block in supernet.blocks),
            _place([supernet.after]),
        ]
        size = supernet.resolution
        self._batch = (tf.TensorSpec([None, size, size, 3], tf.float32), tf.TensorSpec([None], tf.int64))
        self._nothing = tf.zeros([0]), tf.zeros([0], tf.int32)
        self._yes, self._no = tf.constant(True), tf.constant(False)
        operands = [_Operand(tf.TensorSpec([], tf.bool), _VECTOR, _LAYOUT)] * len(self._places)
        self._weight_graph = tf.function(
            self._weight_step,
            input_signature=(
                *self._batch,
                *[tf.TensorSpec([], tf.float32)] * 2,
                operands,
                [_VECTOR] * len(self._places),
            ),
        )
        # One graph for every number of involved paths a block: in practice "two" and "full".
        self._gate_graph = functools.cache(self._make_gate_graph)

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
        paths = self._paths(active)
        statistics = [self._nothing[0] if p is None else value_of(p.statistics) for p in paths]
        loss, hits, *vectors = self._weight_graph(
            images,
            tf.cast(labels, tf.int64),
            tf.constant(smoothing),
            tf.constant(weight_decay),
            list(map(self._operand, paths)),
            statistics,
        )
        return (
            loss,
            hits,
            *([v for v, path in zip(values, paths, strict=True) if path is not None] for values in vectors),
        )

    def gate_gradients(
        self, images: tf.Tensor, labels: tf.Tensor, involved: np.ndarray, active: Sequence[int]
    ):
        """(loss, correct, {(block, candidate): ∂L/∂g} of the involved paths but ZeroOps)."""
        blocks = self.supernet.blocks
        others = [
            _zero_last(block, [k for k in np.flatnonzero(row) if k != index])
            for block, row, index in zip(blocks, involved, active, strict=True)
        ]
        operands = [
            [self._operand(block.paths[k]) for k in row] for block, row in zip(blocks, others, strict=True)
        ]
        graph = self._gate_graph(tuple(map(len, others)))
        loss, hits, own, values = graph(
            images, tf.cast(labels, tf.int64), list(map(self._operand, self._paths(active))), operands
        )
        places = [(b, k) for b, row in enumerate(others) for k in row]
        found = dict(zip(places, values.numpy(), strict=True))
        found |= {
            (b, k): value
            for b, (k, value) in enumerate(zip(active, own.numpy(), strict=True))
            if involved[b, k]
        }
        return loss, hits, {(b, k): v for (b, k), v in found.items() if blocks[b].paths[k] is not None}

    def _paths(self, active: Sequence[int]) -> list[Path | None]:
        net = self.supernet
        chosen = (block.paths[int(k)] for block, k in zip(net.blocks, active, strict=True))
        return [net.stem, net.first, *chosen, net.after]

    def _operand(self, path: Path | None) -> _Operand:
        if path is None:
            return _Operand(self._no, *self._nothing)
        return _Operand(self._yes, value_of(path.trained), path.kind.chain.layout)

    def _weight_step(self, images, labels, smoothing, weight_decay, operands, statistics):
        """The graph of `weight_gradients`."""
        weights = [operand.weights for operand in operands]
        moved, x = [], images
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            for place, operand, averages in zip(self._places, operands, statistics, strict=True):
                branch, new = _if_present(
                    place,
                    operand,
                    lambda: place.functions.train(x, operand.weights, averages, operand.layout, weight_decay),
                    lambda: (_zeros_like(x, place), averages),
                )
                moved.append(new)
                x = _join(place, x, branch)
            loss, hits = cross_entropy(self._logits(x), labels, smoothing)
        return loss, hits, tape.gradient(loss, weights), moved

    def _make_gate_graph(self, counts: tuple[int, ...]):
        operand = _Operand(tf.TensorSpec([], tf.bool), _VECTOR, _LAYOUT)
        return tf.function(
            self._gate_step,
            input_signature=(*self._batch, [operand] * len(self._places), [[operand] * n for n in counts]),
        )

    def _gate_step(self, images, labels, operands, others):
        """The graph of `gate_gradients`: active paths forwards and backwards, then the others.

        The others hang on the gradient of their block's output and are never kept.
        """
        blocks = self._places[2:-1]
        x = images
        for place, operand in zip(self._places[:2], operands[:2], strict=True):
            x = _join(place, x, self._frozen(place, x, operand))
        inputs, branches, outputs = [x], [], []
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            for place, operand in zip(blocks, operands[2:-1], strict=True):
                branches.append(self._frozen(place, inputs[-1], operand))
                outputs.append(_join(place, inputs[-1], branches[-1]))
                inputs.append(outputs[-1])
            logits = self._frozen(self._places[-1], inputs[-1], operands[-1])
            loss, hits = cross_entropy(self._logits(logits), labels)
        gradients = tape.gradient(loss, outputs)
        own = tf.stack([product(*pair) for pair in zip(branches, gradients, strict=True)])
        rows, computed = [], []
        # In the order in which the gradients become known: the last block first.
        for place, x, gradient, row in reversed(
            list(zip(blocks, inputs[:-1], gradients, others, strict=True))
        ):
            rows.append(_gate_values(place, x, gradient, row, computed))
        values = [value for row in reversed(rows) for value in row]
        return loss, hits, own, tf.stack(values) if values else tf.zeros([0])

    def _frozen(self, place: _Place, x: tf.Tensor, operand: _Operand) -> tf.Tensor:
        return _if_present(
            place,
            operand,
            lambda: place.functions.frozen(x, operand.weights, operand.layout),
            lambda: _zeros_like(x, place),
        )

    def _logits(self, x: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(x, [None, self.supernet.num_classes])


def _gate_values(
    place: _Place, x: tf.Tensor, gradient: tf.Tensor, row: list[_Operand], computed: list[tf.Tensor]
) -> list[tf.Tensor]:
    """∂L/∂g of a block's inactive paths, appended to `computed` too, the graph's so far.

    Each waits for the one that is `_AT_ONCE` places before it, so that no more run at once.
    """
    moments = moments_of(x)
    for position, operand in enumerate(row):
        waits_for = computed[-_AT_ONCE:][:1] if len(computed) >= _AT_ONCE else []
        # ZeroOp, if it is among them, comes last.
        optional = dataclasses.replace(place, may_be_zero=place.may_be_zero and position == len(row) - 1)
        with tf.control_dependencies(waits_for):
            computed.append(
                _if_present(
                    optional,
                    operand,
                    lambda: place.functions.gate(x, gradient, operand.weights, operand.layout, *moments),
                    lambda: tf.zeros([]),
                )
            )
    return computed[len(computed) - len(row) :]


def _place(paths: Sequence[Path | None]) -> _Place:
    present = [path for path in paths if path is not None]
    forms = {path.kind.chain.form for path in present}
    if len(forms) > 1:
        raise ValueError("The candidates of a block differ in more than widths and kernels.")
    return _Place(present[0].kind.functions, present[0].has_shortcut, len(present) < len(paths))


def _zero_last(block, candidates: list[int]) -> list[int]:
    return sorted(candidates, key=lambda k: block.paths[k] is None)


def _if_present(place: _Place, operand: _Operand, live, otherwise):
    return tf.cond(operand.present, live, otherwise) if place.may_be_zero else live()


def _zeros_like(x: tf.Tensor, place: _Place) -> tf.Tensor:
    """F of ZeroOp, of the dtype of the others."""
    return tf.zeros(tf.shape(x), place.functions.output_dtype)


def _join(place: _Place, x: tf.Tensor, branch: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, branch.dtype) + branch if place.has_shortcut else branch
