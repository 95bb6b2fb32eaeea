"""Search spaces: which operation each block may use."""

import dataclasses
import math

from nas_tf.base.errors import UserError, require
from nas_tf.space.architecture import Architecture, Block, scale_head, scale_width
from nas_tf.space.candidates import PAPER
from nas_tf.space.layer_spec import BlockSpec, ClassifierSpec, HeadSpec, LayerSpec, StemSpec, allows
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck
from nas_tf.space.operations.operation import Operation


@dataclasses.dataclass(frozen=True)
class Stage:
    """Blocks of one width; the first has the stride."""

    width: int
    num_blocks: int
    stride: int


@dataclasses.dataclass(frozen=True)
class Choice:
    """A block to be decided: its shape and its candidates.

    Attributes:
      specs: one `BlockSpec` per candidate, in the space's order; ZeroOp only where it fits.
    """

    specs: tuple[BlockSpec, ...]

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The candidates of this block."""
        return tuple(spec.operation for spec in self.specs)


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """A family of architectures at width multiplier 1.

    Attributes:
      first_width: width after the fixed expansion-1 3×3 bottleneck.
      stages: the searched part.
      candidates: offered to every block, ZeroOp only to those that it fits.
    """

    name: str
    stem_width: int
    stem_stride: int
    first_width: int
    stages: tuple[Stage, ...]
    head_width: int
    candidates: tuple[Operation, ...] = PAPER

    def scaled(self, width_multiplier: float) -> "SearchSpace":
        """The space with every width multiplied and rounded to a multiple of 8."""
        if width_multiplier == 1:
            return self
        stages = tuple(
            dataclasses.replace(s, width=scale_width(s.width, width_multiplier)) for s in self.stages
        )
        return dataclasses.replace(
            self,
            stem_width=scale_width(self.stem_width, width_multiplier),
            first_width=scale_width(self.first_width, width_multiplier),
            stages=stages,
            head_width=scale_head(self.head_width, width_multiplier),
        )

    def block_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(input_width, output_width, stride) of each searched block."""
        shapes, width = [], self.first_width
        for stage in self.stages:
            for index in range(stage.num_blocks):
                shapes.append((width, stage.width, stage.stride if index == 0 else 1))
                width = stage.width
        return tuple(shapes)

    def choices(self, resolution: int) -> tuple[Choice, ...]:
        """Every searched block with its candidates' shapes at this input resolution."""
        size = self.fixed_before(resolution)[-1].output_size
        choices = []
        for input_width, output_width, stride in self.block_shapes():
            specs = tuple(
                BlockSpec(size, input_width, output_width, stride, operation)
                for operation in self.candidates
                if allows(operation, stride, input_width, output_width)
            )
            choices.append(Choice(specs))
            # All candidates of a block have its stride, and so one size of output.
            size = specs[0].output_size
        return tuple(choices)

    def fixed_before(self, resolution: int) -> tuple[LayerSpec, ...]:
        """The stem and the fixed first block."""
        stem = StemSpec(resolution, 3, self.stem_width, self.stem_stride)
        first = BlockSpec(stem.output_size, self.stem_width, self.first_width, 1, InvertedBottleneck(1, 3))
        return stem, first

    def fixed_after(self, resolution: int, num_classes: int) -> tuple[LayerSpec, ...]:
        """The head and the classifier."""
        last = self.choices(resolution)[-1].specs[0]
        head = HeadSpec(last.output_size, last.output_width, self.head_width)
        return head, ClassifierSpec(last.output_size, self.head_width, num_classes)

    def latency_specs(self, resolution: int, num_classes: int) -> dict[str, LayerSpec]:
        """Table key → layer, for everything that a network of this space may contain."""
        specs = [
            *self.fixed_before(resolution),
            *(spec for choice in self.choices(resolution) for spec in choice.specs),
            *self.fixed_after(resolution, num_classes),
        ]
        # Blocks of equal shape share a key, so each layer is measured once.
        return {spec.key: spec for spec in specs if spec.key is not None}

    def architecture(self, operations: tuple[Operation, ...], name: str = "") -> Architecture:
        """The network with these operations, one per searched block."""
        shapes = self.block_shapes()
        require(
            len(operations) == len(shapes),
            f"The space {self.name!r} has {len(shapes)} blocks, not {len(operations)}.",
        )
        first = Block(InvertedBottleneck(1, 3), self.first_width)
        blocks = tuple(
            Block(operation, width, stride)
            for operation, (_, width, stride) in zip(operations, shapes, strict=True)
        )
        return Architecture(self.stem_width, self.stem_stride, (first, *blocks), self.head_width, name)

    def size(self) -> int:
        """How many architectures the space holds."""
        return math.prod(
            sum(allows(op, stride, i, o) for op in self.candidates) for i, o, stride in self.block_shapes()
        )


# The authors' search has a width of 24 in the first stage; the network that they published has 32.
# The paper's 21 blocks; ZeroOp fits 15 of them (BUILD_NOTES.md, "ZeroOp").
FULL = SearchSpace(
    "full",
    stem_width=32,
    stem_stride=2,
    first_width=16,
    head_width=1280,
    stages=(
        Stage(24, 4, 2),
        Stage(40, 4, 2),
        Stage(80, 4, 2),
        Stage(96, 4, 1),
        Stage(192, 4, 2),
        Stage(320, 1, 1),
    ),
)

# For 32×32 photographs: half the depth, one halving fewer at the start.
SMALL = SearchSpace(
    "small",
    stem_width=16,
    stem_stride=1,
    first_width=16,
    head_width=512,
    stages=(Stage(24, 2, 2), Stage(40, 3, 2), Stage(80, 3, 2), Stage(160, 1, 1)),
)

# For the quickstart's digits and for tests: searched and trained in minutes on two cores.
TINY = SearchSpace(
    "tiny",
    stem_width=8,
    stem_stride=2,
    first_width=8,
    head_width=64,
    stages=(Stage(16, 2, 1), Stage(24, 2, 2), Stage(32, 1, 1)),
)

SPACES = {space.name: space for space in (FULL, SMALL, TINY)}


def find_space(name: str) -> SearchSpace:
    """The search space of this name."""
    if name not in SPACES:
        raise UserError(f"Unknown search space {name!r}; allowed: {', '.join(SPACES)}.")
    return SPACES[name]
