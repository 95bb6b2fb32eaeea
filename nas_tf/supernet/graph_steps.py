"""Losses and gradients of a sampled network in one graph for all networks of the space.

A graph that branched over candidates would hold all of them: slow to build and large. Here a
block is one call of a function that knows no shapes (`nas_tf.supernet.places`).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nas_tf.network.losses import cross_entropy
from nas_tf.supernet.eager_steps import product
from nas_tf.supernet.paths import Path, value_of
from nas_tf.supernet.places import OPERAND, STATISTICS, Operand, Place, make_place
from nas_tf.supernet.supernet import Supernet
from nas_tf.supernet.updates import PathOptimizer


class _TrainGraph(NamedTuple):
    """A graph that trains, and variables without elements that stand for ZeroOp's."""

    function: Callable[..., Any]
    empty: list[tf.Variable]

    @property
    def nothing(self) -> tuple[tf.Tensor, ...]:
        """Their handles."""
        return tuple(variable.handle for variable in self.empty)


class GraphSteps:
    """See `nas_tf.supernet.steps`, whose functions call these."""

    def __init__(self, supernet: Supernet):
        self.supernet = supernet
        self._places = [
            make_place([supernet.stem]),
            make_place([supernet.first]),
            *(make_place(block.offered_paths) for block in supernet.blocks),
            make_place([supernet.after]),
        ]
        size = supernet.resolution
        self._batch = (tf.TensorSpec([None, size, size, 3], tf.float32), tf.TensorSpec([None], tf.int64))
        self._nothing = tf.zeros([0]), tf.zeros([0], tf.int32)
        most = max(len(place.forms) for place in self._places)
        self._branches = [tf.constant(index) for index in range(most)]  # made once: they cost time
        self._weight_graph = tf.function(
            self._weight_step,
            input_signature=(
                *self._batch,
                *[tf.TensorSpec([], tf.float32)] * 2,
                [OPERAND] * len(self._places),
                [STATISTICS] * len(self._places),
            ),
        )
        # One for each optimizer, which is one in practice.
        self._train_graph = functools.cache(self._make_train_graph)
        # One graph for every number of involved paths per block: in practice "two" and "full".
        self._gate_graph = functools.cache(self._make_gate_graph)

    def train(
        self,
        optimizer: PathOptimizer,
        images: tf.Tensor,
        labels: tf.Tensor,
        active: Sequence[int],
        learning_rate: float,
        smoothing: float,
    ):
        """(loss, correct) before the step that it makes of the paths of `active`.

        The graph reads and writes the variables itself: a path moves while the gradients of those
        before it are computed, and no call is made for each.
        """
        paths, graph = self._paths(active), self._train_graph(optimizer)
        nothing = graph.nothing
        return graph.function(
            images,
            tf.cast(labels, tf.int64),
            tf.constant(smoothing),
            tf.constant(optimizer.weight_decay),
            tf.constant(learning_rate, tf.float32),
            [self._branches[place.form_of(path)] for place, path in zip(self._places, paths, strict=True)],
            [self._nothing[1] if path is None else path.kind.chain.layout for path in paths],
            [nothing if path is None else optimizer.resources(path) for path in paths],
            [nothing[0] if path is None else path.statistics.handle for path in paths],
        )

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
            self._operands(paths),
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
        """(loss, correct, (block, candidate) of the involved paths but ZeroOps, their ∂L/∂g [paths])."""
        blocks, places = self.supernet.blocks, self._places[2:-1]
        # In ascending order of forms, so that a place in the row can have few of them, mostly one
        # (`Place.among`).
        others = [
            sorted(
                (k for k in np.flatnonzero(row) if k != index), key=lambda k: place.form_of(block.paths[k])
            )
            for place, block, row, index in zip(places, blocks, involved, active, strict=True)
        ]
        operands = [
            [self._operand(place, block.paths[k]) for k in row]
            for place, block, row in zip(places, blocks, others, strict=True)
        ]
        graph = self._gate_graph(tuple(map(len, others)))
        loss, hits, own, values = graph(
            images, tf.cast(labels, tf.int64), self._operands(self._paths(active)), operands
        )
        places = [(b, int(k)) for b, row in enumerate(others) for k in row]
        places += [(b, int(k)) for b, k in enumerate(active)]
        kept = [i for i, (b, k) in enumerate(places) if involved[b, k] and blocks[b].paths[k] is not None]
        found = tf.gather(tf.concat([values, own], 0), tf.constant(kept, tf.int32))
        return loss, hits, [places[i] for i in kept], found

    def _paths(self, active: Sequence[int]) -> list[Path | None]:
        net = self.supernet
        chosen = (block.paths[int(k)] for block, k in zip(net.blocks, active, strict=True))
        return [net.stem, net.first, *chosen, net.after]

    def _operands(self, paths: list[Path | None]) -> list[Operand]:
        return [self._operand(place, path) for place, path in zip(self._places, paths, strict=True)]

    def _operand(self, place: Place, path: Path | None) -> Operand:
        branch = self._branches[place.form_of(path)]
        if path is None:
            return Operand(branch, *self._nothing)
        return Operand(branch, value_of(path.trained), path.kind.chain.layout)

    def _weight_step(self, images, labels, smoothing, weight_decay, operands, statistics):
        """The graph of `weight_gradients`."""
        weights = [operand.weights for operand in operands]
        moved, x = [], images
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            for place, operand, averages in zip(self._places, operands, statistics, strict=True):
                branch, new = place.train(x, operand, averages, weight_decay)
                moved.append(new)
                x = place.join(x, branch)
            loss, hits = cross_entropy(self._logits(x), labels, smoothing)
        return loss, hits, tape.gradient(loss, weights), moved

    def _make_train_graph(self, optimizer: PathOptimizer) -> _TrainGraph:
        # ZeroOp has no variables; what the graph updates for it has no elements.
        empty = [tf.Variable(tf.zeros([0]), shape=[None]) for _ in optimizer.resources(self.supernet.stem)]
        handle = tf.TensorSpec([], tf.resource)
        places = len(self._places)
        function = tf.function(
            functools.partial(self._train_step, optimizer),
            input_signature=(
                *self._batch,
                *[tf.TensorSpec([], tf.float32)] * 3,
                [OPERAND.branch] * places,
                [OPERAND.layout] * places,
                [(handle,) * len(empty)] * places,
                [handle] * places,
            ),
        )
        return _TrainGraph(function, empty)

    def _train_step(
        self, optimizer, images, labels, smoothing, weight_decay, rate, branches, layouts, resources, averages
    ):
        """The graph of `train`; the first of a path's `resources` are its weights."""
        operands = [
            Operand(branch, _read(handles[0]), layout)
            for branch, layout, handles in zip(branches, layouts, resources, strict=True)
        ]
        loss, hits, gradients, moved = self._weight_step(
            images, labels, smoothing, weight_decay, operands, list(map(_read, averages))
        )
        for handles, gradient, handle, statistics in zip(resources, gradients, averages, moved, strict=True):
            # None where a place has ZeroOp alone, and so no weights.
            if gradient is not None:
                optimizer.update_path(handles, gradient, rate)
            tf.raw_ops.AssignVariableOp(resource=handle, value=statistics)
        return loss, hits

    def _make_gate_graph(self, counts: tuple[int, ...]):
        return tf.function(
            self._gate_step,
            input_signature=(*self._batch, [OPERAND] * len(self._places), [[OPERAND] * n for n in counts]),
        )

    def _gate_step(self, images, labels, operands, others):
        """The graph of `gate_gradients`: active paths forwards and backwards, then the others.

        The others hang on the gradient of their block's output and are never kept.
        """
        blocks = self._places[2:-1]
        x = images
        for place, operand in zip(self._places[:2], operands[:2], strict=True):
            x = place.join(x, place.frozen(x, operand))
        inputs, branches, outputs = [x], [], []
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            for place, operand in zip(blocks, operands[2:-1], strict=True):
                branches.append(place.frozen(inputs[-1], operand))
                outputs.append(place.join(inputs[-1], branches[-1]))
                inputs.append(outputs[-1])
            logits = self._places[-1].frozen(inputs[-1], operands[-1])
            # No label smoothing: see `EagerSteps.gate_gradients`.
            loss, hits = cross_entropy(self._logits(logits), labels)
        gradients = tape.gradient(loss, outputs)
        own = tf.stack([product(*pair) for pair in zip(branches, gradients, strict=True)])
        rows, computed = [], []
        # In the order in which the gradients become known: the last block first.
        for place, x, gradient, row in reversed(
            list(zip(blocks, inputs[:-1], gradients, others, strict=True))
        ):
            rows.append(place.gate_values(x, gradient, row, computed))
        values = [value for row in reversed(rows) for value in row]
        return loss, hits, own, tf.stack(values) if values else tf.zeros([0])

    def _logits(self, x: tf.Tensor) -> tf.Tensor:
        # Nothing behind functions without shapes knows the number of classes, which the loss needs.
        return tf.ensure_shape(x, [None, self.supernet.num_classes])


def _read(handle: tf.Tensor) -> tf.Tensor:
    """A vector variable's value at the start of the step."""
    value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
    return tf.ensure_shape(value, [None])
