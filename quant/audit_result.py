"""What an audit finds, as plain data, JSON and text."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from quant import int8

# Steps of a channel below which it is dead, so its fill says nothing; the converter's floor.
DEAD_STEP = 1e-7
# An int8 channel that uses less than half of its 127 steps was rounded by another's range.
MIN_FILL = int8.KERNEL_HIGH // 2 + 1
# tfmot starts every range there; one that is still near was never calibrated.
UNSET_LIMIT, UNSET_TOLERANCE = 6.0, 0.02
DEAD_WIDTH, EXPLODED_WIDTH = 1e-5, 1e4

NEVER_SET, DEAD, EXPLODED = "never set", "dead", "exploded"


@dataclasses.dataclass(frozen=True)
class Node:
    """An operator or layer in the picture.

    Attributes:
      inputs: indices of the nodes that feed it.
      detail: a second line: shape, type, range.
      quantized: whether its output is on an integer grid, or becomes so when fused.
      problems: what the audit found here; empty if nothing.
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    detail: str
    quantized: bool
    problems: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class KernelFacts:
    """How a kernel was quantized.

    Attributes:
      scales: how many scales it has.
      min_fill: smallest of the channels' largest |int8|; 127 when each has its own range.
      under_filled: live channels that use less than half of the int8 range.
    """

    name: str
    channels: int
    scales: int
    min_fill: int
    under_filled: int

    @property
    def per_channel(self) -> bool:
        """Whether each channel was rounded by its own range, whatever the scales pretend.

        Batch norm that is folded in after a kernel was rounded by one range leaves a vector of
        scales all the same, so what counts is how far the integers reach.
        """
        return self.channels == 1 or (self.scales == self.channels and not self.under_filled)


@dataclasses.dataclass(frozen=True)
class RangeFault:
    """An activation or kernel range that cannot be right."""

    name: str
    fault: str
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Audit:
    """The result.

    Attributes:
      missing: operators or layers that should be on integers and are not.
      float_tensors: tensors inside that hold floats.
      float_islands: connected groups of `missing`.
      interior_quantize_ops: conversions that are not at the input or the output.
      unfused: activations that stand alone though the operator before could fuse them.
      fused: operator and activation → how often.
    """

    model: str
    kind: str
    nodes: tuple[Node, ...]
    missing: tuple[str, ...]
    float_tensors: tuple[str, ...]
    float_islands: tuple[tuple[str, ...], ...]
    interior_quantize_ops: tuple[str, ...]
    kernels: tuple[KernelFacts, ...]
    range_faults: tuple[RangeFault, ...]
    unfused: tuple[str, ...]
    fused: dict[str, int]

    @property
    def num_findings(self) -> int:
        """How many things are wrong."""
        poor = sum(not kernel.per_channel for kernel in self.kernels)
        return (
            len(self.missing)
            + len(self.interior_quantize_ops)
            + poor
            + len(self.range_faults)
            + len(self.unfused)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dump`."""
        return {
            "model": self.model,
            "kind": self.kind,
            "findings": self.num_findings,
            "missing": list(self.missing),
            "float_tensors": list(self.float_tensors),
            "float_islands": [list(island) for island in self.float_islands],
            "interior_quantize_ops": list(self.interior_quantize_ops),
            "per_channel": all(k.per_channel for k in self.kernels),
            "kernels": [{**dataclasses.asdict(k), "per_channel": k.per_channel} for k in self.kernels],
            "range_faults": [dataclasses.asdict(fault) for fault in self.range_faults],
            "unfused_activations": list(self.unfused),
            "fused_activations": self.fused,
        }

    def to_text(self) -> str:
        """The findings for a person."""
        poor = [k for k in self.kernels if not k.per_channel]
        lines = [
            f"{self.kind}: {len(self.nodes)} nodes, {len(self.kernels)} quantized kernels, "
            f"{self.num_findings} findings"
        ]
        lines += _section("not quantized", self.missing)
        lines += _section("float islands", [" + ".join(i) for i in self.float_islands])
        lines += _section("QUANTIZE or DEQUANTIZE inside", self.interior_quantize_ops)
        lines += _section(
            "kernels not per channel",
            [
                f"{k.name}: {k.scales} scales for {k.channels} channels, {k.under_filled} channels "
                f"under half of the int8 range, the least filled reaches {k.min_fill}"
                for k in poor
            ],
        )
        lines += _section(
            "ranges", [f"{f.name}: {f.fault}, [{f.low:.4g}, {f.high:.4g}]" for f in self.range_faults]
        )
        lines += _section("activations not fused", self.unfused)
        return "\n".join(lines)


def _section(title: str, entries: Sequence[Any]) -> list[str]:
    shown = [f"    {entry}" for entry in entries[:20]]
    more = len(entries) - len(shown)
    return [f"  {title}: {len(entries)}", *shown, *([f"    … and {more} more"] if more else [])]


def kernel_facts(
    name: str, integers: np.ndarray, steps: np.ndarray, least: np.ndarray | float = 0.0
) -> KernelFacts:
    """Facts of a kernel.

    Args:
      integers: int8 values [..., channels].
      steps: size of one step, [channels] or [1].
      least: the steps that biases and outputs need, [channels] or one (`quant.bias`); a channel
        with no larger one says nothing about its weights' range.
    """
    channels = integers.shape[-1]
    fill = np.abs(integers.astype(np.int32)).reshape(-1, channels).max(axis=0)
    live = fill[(fill > 0) & (np.broadcast_to(steps, (channels,)) > np.maximum(DEAD_STEP, least))]
    return KernelFacts(
        name,
        channels,
        len(steps),
        # A kernel with dead channels only has nothing that is filled too little.
        int(live.min(initial=int8.KERNEL_HIGH)),
        int((live < MIN_FILL).sum()),
    )


def range_fault(name: str, low: float, high: float) -> RangeFault | None:
    """What is wrong with a range, if anything."""
    width = high - low
    at_start = max(abs(low + UNSET_LIMIT), abs(high - UNSET_LIMIT)) < UNSET_TOLERANCE * UNSET_LIMIT
    fault = (
        # First, since NaN answers no to every comparison.
        EXPLODED
        if not np.isfinite(width) or width > EXPLODED_WIDTH
        else NEVER_SET
        if at_start or low == high == 0
        else DEAD
        if width < DEAD_WIDTH
        else None
    )
    return RangeFault(name, fault, float(low), float(high)) if fault else None


def islands(missing: set[int], nodes: list[Node]) -> tuple[tuple[str, ...], ...]:
    """Connected groups of the nodes `missing`, by name."""
    group = {index: index for index in missing}

    def root(index: int) -> int:
        while group[index] != index:
            index = group[index]
        return index

    for index in sorted(missing):
        for source in nodes[index].inputs:
            if source in missing:
                group[root(index)] = root(source)
    found: dict[int, list[str]] = {}
    for index in sorted(missing):
        found.setdefault(root(index), []).append(nodes[index].name)
    return tuple(map(tuple, found.values()))
