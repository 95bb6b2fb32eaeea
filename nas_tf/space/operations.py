"""Candidate operations of a block, as plain data.

To add one: a class and its entry in `CANDIDATES` here, its builder in
`nas_tf.network.layers.build_operation`, its latency key in
`nas_tf.space.layer_spec`.
"""

import dataclasses
import re

from nas_tf.base.errors import UserError


@dataclasses.dataclass(frozen=True)
class InvertedBottleneck:
    """1×1 expansion, depthwise k×k, 1×1 linear projection (Sandler et al., 2018)."""

    expansion: int
    kernel: int

    @property
    def name(self) -> str:
        """Short name, `expansion_kernel`, as in the published architectures."""
        return f"{self.expansion}_{self.kernel}"


@dataclasses.dataclass(frozen=True)
class Zero:
    """Skips the block: its output is the identity shortcut alone. Costs nothing."""

    @property
    def name(self) -> str:
        """Short name."""
        return "Z"


Operation = InvertedBottleneck | Zero

ZERO = Zero()

# The paper's candidates: kernel {3, 5, 7} × expansion {3, 6}, and ZeroOp.
CANDIDATES: tuple[Operation, ...] = tuple(
    InvertedBottleneck(expansion, kernel) for expansion in (3, 6) for kernel in (3, 5, 7)
) + (ZERO,)


def parse_operation(name: str) -> Operation:
    """The operation of a short name: `"6_5"` is expansion 6, kernel 5; `"Z"` is ZeroOp."""
    if name == ZERO.name:
        return ZERO
    match = re.fullmatch(r"([1-9])_([1357])", name)
    if not match:
        raise UserError(
            f"Unknown operation {name!r}; allowed: 'Z', or 'expansion_kernel' "
            "with expansion 1-9 and kernel 1, 3, 5 or 7."
        )
    return InvertedBottleneck(int(match[1]), int(match[2]))
