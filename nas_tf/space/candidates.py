"""The kinds of operations that there are, and the sets of them that spaces offer.

An operation is a file in `nas_tf.space.operations` and its entry in `KINDS` here; a space offers it
once it is in the space's candidates.
"""

from nas_tf.base.errors import UserError, quoted
from nas_tf.space.operations.convolution_pair import ConvolutionPair
from nas_tf.space.operations.fused_bottleneck import FusedBottleneck
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck
from nas_tf.space.operations.operation import Operation
from nas_tf.space.operations.universal_bottleneck import UniversalBottleneck
from nas_tf.space.operations.zero import ZERO, Zero

KINDS: tuple[type[Operation], ...] = (
    Zero,
    InvertedBottleneck,
    FusedBottleneck,
    ConvolutionPair,
    UniversalBottleneck,
)

# The paper's candidates: kernel {3, 5, 7} × expansion {3, 6}, and ZeroOp.
PAPER: tuple[Operation, ...] = tuple(
    InvertedBottleneck(expansion, kernel) for expansion in (3, 6) for kernel in (3, 5, 7)
) + (ZERO,)


# MobileNetV4's bottlenecks. Depthwise kernels before and after the expansion with the expansions that
# they are offered with: all of MobileNetV4-Conv-S', and few enough that shared weights get their turn.
UNIVERSAL: tuple[Operation, ...] = tuple(
    UniversalBottleneck(expansion, start, middle)
    for kernels, expansions in (
        (((0, 3), (0, 5)), (2, 3, 4, 6)),
        (((3, 3), (3, 5), (5, 3), (5, 5)), (3, 4, 6)),
        (((3, 0), (5, 0)), (2, 4, 6)),
        (((0, 0),), (2, 4)),
    )
    for start, middle in kernels
    for expansion in expansions
) + (ZERO,)

# For the early layers, where images are large and channels few: there a dense convolution is as fast
# as a depthwise one with its two neighbours.
UNIVERSAL_EARLY: tuple[Operation, ...] = (
    ConvolutionPair(2, 3),
    ConvolutionPair(3, 3),
    *(FusedBottleneck(expansion, 3) for expansion in (2, 3, 4)),
    *(UniversalBottleneck(expansion, 0, middle) for middle in (3, 5) for expansion in (3, 6)),
    *(UniversalBottleneck(4, 3, middle) for middle in (3, 5)),
    ZERO,
)


def parse_operation(name: str) -> Operation:
    """The operation of a short name: `"6_5"` is expansion 6, kernel 5; `"Z"` is ZeroOp.

    Raises:
      UserError: no kind of operation has such a name.
    """
    for kind in KINDS:
        operation = kind.parse(name)
        if operation is not None:
            return operation
    raise UserError(
        f"Unknown operation {quoted(name)}; allowed: {', or '.join(kind.grammar for kind in KINDS)}."
    )


def parse_key_fields(layer_name: str, fields: str) -> Operation | None:
    """The operation that these parts of a latency key tell, or None."""
    for kind in KINDS:
        # ZeroOp has none and would match a key that begins with nothing.
        if kind.layer_name and kind.layer_name == layer_name:
            return kind.from_key_fields(fields)
    return None
