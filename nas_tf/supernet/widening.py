"""Which candidates a smaller one can be widened to; what `tying` does, told from shapes alone."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from nas_tf.space.layer_spec import BlockSpec
from nas_tf.space.operations.operation import Convolution
from nas_tf.space.search_space import Choice


def beginnings(choice: Choice, offered: Sequence[bool] | np.ndarray | None = None) -> Mapping[int, int]:
    """Candidate → the one that it begins as: the smallest of the offered that can be widened to it.

    Candidates of one form (the paper's bottlenecks are) begin as one; where a block offers several
    forms, each has its own, and what is like no other begins as itself. ZeroOp has no entry.
    """
    return _beginnings(choice, (True,) * len(choice.specs) if offered is None else tuple(map(bool, offered)))


# Asked for in every step with tied candidates.
@functools.lru_cache(maxsize=1024)
def _beginnings(choice: Choice, offered: tuple[bool, ...]) -> Mapping[int, int]:
    present = [k for k, spec in enumerate(choice.specs) if offered[k] and not spec.is_skipped]
    by_size = sorted(present, key=lambda k: choice.specs[k].params)
    return {k: next(s for s in by_size if _fits(choice.specs[s], choice.specs[k])) for k in present}


def _fits(source: BlockSpec, target: BlockSpec) -> bool:
    """Whether `target` can compute what `source` does; every candidate fits itself."""
    ours, theirs = source.convolutions, target.convolutions
    if list(map(_kind, ours)) != list(map(_kind, theirs)):
        return False
    # A kernel lies in the middle of a larger one only where both sides are odd or both are even.
    return all(
        large.kernel >= small.kernel
        and (large.kernel - small.kernel) % 2 == 0
        and large.input_width >= small.input_width
        and large.output_width >= small.output_width
        for small, large in zip(ours, theirs, strict=True)
    )


def _kind(convolution: Convolution) -> tuple:
    return convolution.depthwise, convolution.stride, convolution.activation
