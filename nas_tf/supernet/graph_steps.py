"""Losses and gradients of a sampled network in one graph for all networks of the space.

A graph that branched over candidates would hold all of them: slow to build and large. Here a
block is one call of a function that knows no shapes; which candidate runs is said by the weights
that are handed to it and by their shapes. Only what differs in form is a branch: ZeroOp, and
candidates that are not the same layers but for widths and kernels.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nas_tf.network.losses import cross_entropy
from nas_tf.supernet.eager_steps import product
from nas_tf.supernet.gate_values import Moments, moments_of
from nas_tf.supernet.paths import Path, PathFunctions, value_of
from nas_tf.supernet.supernet import Supernet
from nas_tf.supernet.updates import PathOptimizer

# Inactive paths computed at a time: a bound on what they hold. With two, cores wait for each other
# (docs/search.md, "Cost of a step").
_AT_ONCE = 4


class _Operand(NamedTuple):
    """A path as the graph sees it; for ZeroOp all but `branch` is empty.

    Attributes:
      branch: which of its place's forms it has, a scalar.
    """

    branch: tf.Tensor
    weights: tf.Tensor
    layout: tf.Tensor


# Vectors of any length: with a length in the signature, each candidate would need a graph of its own.
_OPERAND = _Operand(
    tf.TensorSpec([], tf.int32), tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int32)
)
_STATISTICS = tf.TensorSpec([None], tf.float32)


class _TrainGraph(NamedTuple):
    """A graph that trains, and variables without elements that stand for ZeroOp's."""

    function: Callable[..., Any]
    empty: list[tf.Variable]

    @property
    def nothing(self) -> tuple[tf.Tensor, ...]:
        """Their handles."""
        return tuple(variable.handle for variable in self.empty)


@dataclasses.dataclass(frozen=True)
class _Place:
    """A block, or a fixed part, of every network.

    Attributes:
      forms: the functions of each form that its candidates have, ZeroOp's None last.
      candidates: index into `forms` for each candidate, in ascending order.
      has_shortcut: of all its candidates; a block that offers ZeroOp has one.
    """

    forms: tuple[PathFunctions | None, ...]
    candidates: tuple[int, ...]
    has_shortcut: bool

    def run(
        self,
        operand: _Operand,
        live: Callable[[PathFunctions], Any],
        zero: Callable[[], Any],
        among: tuple[int, ...] | None = None,
    ) -> Any:
        """`live` on the functions of the operand's form, or `zero` for ZeroOp.

        Args:
          among: forms that the operand may have, consecutive; all of them by default.
        """
        among = among or tuple(range(len(self.forms)))
        branches = [
            zero if self.forms[index] is None else functools.partial(live, self.forms[index])
            for index in among
        ]
        # No switch where there is one form, as in a block without ZeroOp whose candidates are of one
        # kind: `switch_case` holds all of its branches, which makes a graph large and slow to build.
        if len(branches) == 1:
            return branches[0]()
        if len(branches) == 2:  # the cheaper operation, and all there is but for blocks of several forms
            return tf.cond(tf.equal(operand.branch, among[0]), *branches)
        return tf.switch_case(operand.branch - among[0], branches)

    def form_of(self, path: Path | None) -> int:
        """Which of its forms a path of this place has."""
        return self.forms.index(None if path is None else path.kind.functions)

    def among(self, position: int, count: int) -> tuple[int, ...]:
        """Forms that candidate `position` of `count` involved ones can have, in ascending order."""
        # With m candidates, the one at this position has 0 to m − count others left out before it.
        last = position + len(self.candidates) - count
        return tuple(sorted(set(self.candidates[position : last + 1])))


class GraphSteps:
    """See `nas_tf.supernet.steps`, whose functions call these."""

    def __init__(self, supernet: Supernet):
        self.supernet = supernet
        self._places = [
            _place([supernet.stem]),
            _place([supernet.first]),
            *(_place(block.offered_paths) for block in supernet.blocks),
            _place([supernet.after]),
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
                [_OPERAND] * len(self._places),
                [_STATISTICS] * len(self._places),
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
        # (`_Place.among`).
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

    def _operands(self, paths: list[Path | None]) -> list[_Operand]:
        return [self._operand(place, path) for place, path in zip(self._places, paths, strict=True)]

    def _operand(self, place: _Place, path: Path | None) -> _Operand:
        branch = self._branches[place.form_of(path)]
        if path is None:
            return _Operand(branch, *self._nothing)
        return _Operand(branch, value_of(path.trained), path.kind.chain.layout)

    def _weight_step(self, images, labels, smoothing, weight_decay, operands, statistics):
        """The graph of `weight_gradients`."""
        weights = [operand.weights for operand in operands]
        moved, x = [], images
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            for place, operand, averages in zip(self._places, operands, statistics, strict=True):
                branch, new = _train(place, x, operand, averages, weight_decay)
                moved.append(new)
                x = _join(place, x, branch)
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
                [_OPERAND.branch] * places,
                [_OPERAND.layout] * places,
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
            _Operand(branch, _read(handles[0]), layout)
            for branch, layout, handles in zip(branches, layouts, resources, strict=True)
        ]
        loss, hits, gradients, moved = self._weight_step(
            images, labels, smoothing, weight_decay, operands, list(map(_read, averages))
        )
        for handles, gradient, handle, statistics in zip(resources, gradients, averages, moved, strict=True):
            optimizer.update_path(handles, gradient, rate)
            tf.raw_ops.AssignVariableOp(resource=handle, value=statistics)
        return loss, hits

    def _make_gate_graph(self, counts: tuple[int, ...]):
        return tf.function(
            self._gate_step,
            input_signature=(*self._batch, [_OPERAND] * len(self._places), [[_OPERAND] * n for n in counts]),
        )

    def _gate_step(self, images, labels, operands, others):
        """The graph of `gate_gradients`: active paths forwards and backwards, then the others.

        The others hang on the gradient of their block's output and are never kept.
        """
        blocks = self._places[2:-1]
        x = images
        for place, operand in zip(self._places[:2], operands[:2], strict=True):
            x = _join(place, x, _frozen(place, x, operand))
        inputs, branches, outputs = [x], [], []
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            for place, operand in zip(blocks, operands[2:-1], strict=True):
                branches.append(_frozen(place, inputs[-1], operand))
                outputs.append(_join(place, inputs[-1], branches[-1]))
                inputs.append(outputs[-1])
            logits = _frozen(self._places[-1], inputs[-1], operands[-1])
            # No label smoothing: see `EagerSteps.gate_gradients`.
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

    def _logits(self, x: tf.Tensor) -> tf.Tensor:
        # Nothing behind functions without shapes knows the number of classes, which the loss needs.
        return tf.ensure_shape(x, [None, self.supernet.num_classes])


def _read(handle: tf.Tensor) -> tf.Tensor:
    """A vector variable's value at the start of the step."""
    value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
    return tf.ensure_shape(value, [None])


def _train(place: _Place, x, operand: _Operand, averages, weight_decay):
    """(F(x), new statistics) in training."""
    return place.run(
        operand,
        lambda form: form.train(x, operand.weights, averages, operand.layout, weight_decay),
        lambda: (_zeros_like(x, place), averages),
    )


def _frozen(place: _Place, x: tf.Tensor, operand: _Operand) -> tf.Tensor:
    """F(x) as in training, with a gradient in x alone."""
    return place.run(
        operand,
        lambda form: form.frozen(x, operand.weights, operand.layout),
        lambda: _zeros_like(x, place),
    )


def _gate_values(
    place: _Place, x: tf.Tensor, gradient: tf.Tensor, row: list[_Operand], computed: list[tf.Tensor]
) -> list[tf.Tensor]:
    """∂L/∂g of a block's inactive paths, appended to `computed` too, the graph's so far.

    Each waits for the one that is `_AT_ONCE` places before it, so that no more run at once.
    """
    # Once for the block: its candidates share the input.
    moments = moments_of(x)
    for position, operand in enumerate(row):
        waits_for = computed[-_AT_ONCE:][:1] if len(computed) >= _AT_ONCE else []
        with tf.control_dependencies(waits_for):
            computed.append(
                _gate_value(place, x, gradient, operand, moments, place.among(position, len(row)))
            )
    return computed[len(computed) - len(row) :]


def _gate_value(place: _Place, x, gradient, operand: _Operand, moments: Moments, among) -> tf.Tensor:
    return place.run(
        operand,
        lambda form: form.gate(x, gradient, operand.weights, operand.layout, *moments),
        lambda: tf.zeros([]),
        among,
    )


def _place(paths: Sequence[Path | None]) -> _Place:
    present = [path for path in paths if path is not None]
    # In the order of the candidates, each form once.
    forms = tuple(dict.fromkeys(path.kind.functions for path in present))
    # None last, so that the first one has a dtype where there is any path (`_zeros_like`).
    forms = (*forms, None) if len(present) < len(paths) else forms
    candidates = sorted(forms.index(None if path is None else path.kind.functions) for path in paths)
    # The shortcut is added once for each place, outside of the branches.
    if len({path.has_shortcut for path in present}) > 1:
        raise ValueError("The candidates of a block have either all a shortcut or none.")
    # A place without paths has ZeroOp alone, which only fits where there is a shortcut.
    return _Place(forms, tuple(candidates), present[0].has_shortcut if present else True)


def _zeros_like(x: tf.Tensor, place: _Place) -> tf.Tensor:
    """F of ZeroOp, of the dtype of the others."""
    # All branches of `switch_case` have to return the same type.
    first = place.forms[0]
    return tf.zeros(tf.shape(x), x.dtype if first is None else first.output_dtype)


def _join(place: _Place, x: tf.Tensor, branch: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, branch.dtype) + branch if place.has_shortcut else branch
