"""Which candidates a smaller one can be widened to; what `tying` does, told from shapes alone."""

from collections.abc import Sequence

import numpy as np

from nas_tf.space.layer_spec import BlockSpec
from nas_tf.space.operations.operation import Convolution
from nas_tf.space.search_space import Choice


def with_layers(choice: Choice, offered: Sequence[bool] | np.ndarray | None = None) -> list[int]:
    """The candidates that are offered (by default all of them), ZeroOp aside."""
    return [
        k for k, spec in enumerate(choice.specs) if not spec.is_skipped and (offered is None or offered[k])
    ]


def smallest(choice: Choice, offered: Sequence[bool] | np.ndarray | None = None) -> int:
    """The offered candidate with the fewest weights, ZeroOp aside: what tied candidates run."""
    return min(with_layers(choice, offered), key=lambda k: choice.specs[k].params)


def unwidenable(choices: tuple[Choice, ...], offered: np.ndarray | None = None) -> str:
    """Why tied candidates could not be set free, in words; empty where all of them can.

    Args:
      choices: of every block.
      offered: bool [blocks, candidates]; by default all are.
    """
    for index, choice in enumerate(choices):
        present = with_layers(choice, None if offered is None else offered[index])
        if not present:
            continue  # ZeroOp is all that the block offers
        source = min((choice.specs[k] for k in present), key=lambda spec: spec.params)
        for target in (choice.specs[k] for k in present):
            why = _obstacle(source, target)
            if why:
                return (
                    f"block {index} offers {target.operation.name!r}, which cannot begin as its smallest "
                    f"candidate {source.operation.name!r}: {why}"
                )
    return ""


def _obstacle(source: BlockSpec, target: BlockSpec) -> str:
    ours, theirs = source.convolutions, target.convolutions
    if list(map(_kind, ours)) != list(map(_kind, theirs)):
        return "its layers are of another form"
    for small, large in zip(ours, theirs, strict=True):
        if large.input_width % small.input_width or large.output_width % small.output_width:
            widths = f"{large.input_width} to {large.output_width}"
            return (
                f"the widths of its {large.name!r} ({widths}) are no multiples of "
                f"{small.input_width} and {small.output_width}"
            )
        if large.kernel < small.kernel or (large.kernel - small.kernel) % 2:
            return f"a kernel of {small.kernel} does not fit into the middle of one of {large.kernel}"
    return ""


def _kind(convolution: Convolution) -> tuple:
    return convolution.depthwise, convolution.stride, convolution.activation
