"""What a candidate has that may make it slow, and why that would be."""

import dataclasses
from collections.abc import Iterator

from nas_tf.space.layer_spec import BlockSpec
from nas_tf.space.operations.operation import Convolution

# XNNPACK's int8 and float depthwise microkernels (`src/qs8-dwconv`, `src/f32-dwconv`) are of 9 and 25 taps,
# and of fewer for 1-d ones; more take a generic path.
_XNNPACK_TAPS = 25
# Channels that vector instructions take at once: 4 floats or 16 bytes are 128 bits.
_LANES = (4, 8, 16)


@dataclasses.dataclass(frozen=True)
class Trait:
    """Something that candidates have in common.

    Attributes:
      text: follows "candidates, all".
      reason: why it is likely to be slow; "" where none is known.
    """

    text: str
    reason: str = ""


def traits(block: BlockSpec, kernels: str) -> tuple[Trait, ...]:
    """What this block has, the likeliest reasons first, each once.

    Args:
      kernels: that the table was measured with.
    """
    return tuple(dict.fromkeys(_traits(block, kernels)))


def _traits(block: BlockSpec, kernels: str) -> Iterator[Trait]:
    yield from (
        _of_kernel(convolution, kernels) for convolution in block.convolutions if convolution.kernel > 1
    )
    widths = sorted({w for c in block.convolutions for w in (c.input_width, c.output_width)})
    yield from (
        Trait(
            f"with a channel count that is no multiple of {lanes}",
            f"vector instructions take {lanes} channels at once, and what is left over goes a slower way",
        )
        for lanes in _LANES
        if any(width % lanes for width in widths)
    )
    yield from (Trait(f"with {width} channels somewhere") for width in widths)
    yield Trait(f"at {block.input_size}×{block.input_size} pixels")
    yield Trait(f"from {block.input_width} to {block.output_width} channels with stride {block.stride}")
    yield Trait(f"with stride {block.stride}")
    yield Trait(f"that are {block.operation.layer_name} blocks")
    yield Trait(f"called {block.operation.name}")


def _of_kernel(convolution: Convolution, kernels: str) -> Trait:
    side = convolution.kernel
    if not convolution.depthwise:
        return Trait(f"with a dense {side}×{side} convolution")
    slow = kernels == "xnnpack" and side**2 > _XNNPACK_TAPS
    return Trait(
        f"with a {side}×{side} depthwise",
        f"XNNPACK has depthwise kernels for at most {_XNNPACK_TAPS} taps, {side}×{side} has {side**2}"
        if slow
        else "",
    )
