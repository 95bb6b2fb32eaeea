"""A block of the supernet as a graph for all networks sees it: one call of functions that know no shapes.

Which candidate runs is said by the weights that are handed to it and by their shapes. Only what differs in
form is a branch: ZeroOp, and candidates that are not the same layers but for widths and kernels.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from nas_tf.supernet.gate_values import Moments, moments_of
from nas_tf.supernet.paths import Path, PathFunctions

# Inactive paths computed at a time: a bound on what they hold. With two, cores wait for each other
# (docs/search.md, "Cost of a step").
AT_ONCE = 4


class Operand(NamedTuple):
    """A path as the graph sees it; for ZeroOp all but `branch` is empty.

    Attributes:
      branch: which of its place's forms it has, a scalar.
    """

    branch: tf.Tensor
    weights: tf.Tensor
    layout: tf.Tensor


# Vectors of any length: with a length in the signature, each candidate would need a graph of its own.
OPERAND = Operand(
    tf.TensorSpec([], tf.int32), tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int32)
)
STATISTICS = tf.TensorSpec([None], tf.float32)


@dataclasses.dataclass(frozen=True)
class Place:
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
        operand: Operand,
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

    def train(self, x: tf.Tensor, operand: Operand, averages: tf.Tensor, weight_decay: tf.Tensor):
        """(F(x), new statistics) in training."""
        return self.run(
            operand,
            lambda form: form.train(x, operand.weights, averages, operand.layout, weight_decay),
            lambda: (self._zeros_like(x), averages),
        )

    def frozen(self, x: tf.Tensor, operand: Operand) -> tf.Tensor:
        """F(x) as in training, with a gradient in x alone."""
        return self.run(
            operand,
            lambda form: form.frozen(x, operand.weights, operand.layout),
            lambda: self._zeros_like(x),
        )

    def join(self, x: tf.Tensor, branch: tf.Tensor) -> tf.Tensor:
        """The place's output: F(x), plus x where it has a shortcut."""
        return tf.cast(x, branch.dtype) + branch if self.has_shortcut else branch

    def gate_values(
        self, x: tf.Tensor, gradient: tf.Tensor, row: list[Operand], computed: list[tf.Tensor]
    ) -> list[tf.Tensor]:
        """∂L/∂g of a block's inactive paths, appended to `computed` too, the graph's so far.

        Each waits for the one that is `AT_ONCE` places before it, so that no more run at once.
        """
        # Once for the block: its candidates share the input.
        moments = moments_of(x)
        for position, operand in enumerate(row):
            waits_for = computed[-AT_ONCE:][:1] if len(computed) >= AT_ONCE else []
            with tf.control_dependencies(waits_for):
                among = self.among(position, len(row))
                computed.append(self._gate_value(x, gradient, operand, moments, among))
        return computed[len(computed) - len(row) :]

    def _gate_value(self, x, gradient, operand: Operand, moments: Moments, among) -> tf.Tensor:
        return self.run(
            operand,
            lambda form: form.gate(x, gradient, operand.weights, operand.layout, *moments),
            lambda: tf.zeros([]),
            among,
        )

    def _zeros_like(self, x: tf.Tensor) -> tf.Tensor:
        """F of ZeroOp, of the dtype of the others."""
        # All branches of `switch_case` have to return the same type.
        first = self.forms[0]
        return tf.zeros(tf.shape(x), x.dtype if first is None else first.output_dtype)


def make_place(paths: Sequence[Path | None]) -> Place:
    """The place of a block's offered candidates, or of one fixed part."""
    present = [path for path in paths if path is not None]
    # In the order of the candidates, each form once.
    forms = tuple(dict.fromkeys(path.kind.functions for path in present))
    # None last, so that the first one has a dtype where there is any path (`Place._zeros_like`).
    forms = (*forms, None) if len(present) < len(paths) else forms
    candidates = sorted(forms.index(None if path is None else path.kind.functions) for path in paths)
    # The shortcut is added once for each place, outside of the branches.
    if len({path.has_shortcut for path in present}) > 1:
        raise ValueError("The candidates of a block have either all a shortcut or none.")
    # A place without paths has ZeroOp alone, which only fits where there is a shortcut.
    return Place(forms, tuple(candidates), present[0].has_shortcut if present else True)
