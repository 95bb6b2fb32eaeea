"""Search spaces: which operation each block may use."""

import dataclasses
import math

from nas_tf.base.errors import UserError, require
from nas_tf.space.architecture import Architecture, Block, scale_head, scale_width
from nas_tf.space.candidates import PAPER, UNIVERSAL, UNIVERSAL_EARLY
from nas_tf.space.layer_spec import BlockSpec, LayerSpec, StemSpec, allows, layers_after
from nas_tf.space.operations.convolution_pair import ConvolutionPair
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck
from nas_tf.space.operations.operation import Operation


@dataclasses.dataclass(frozen=True)
class Stage:
    """Blocks of one width; the first has the stride.

    Attributes:
      candidates: offered to its blocks; empty: those of the space.
    """

    width: int
    num_blocks: int
    stride: int
    candidates: tuple[Operation, ...] = ()


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
      first_width: width after the fixed first block.
      stages: the searched part.
      candidates: offered to the blocks of every stage that names no others; each block has those of
        them that fit its shape.
      first, first_stride: operation and stride of the fixed first block.
      features_width, activation: as of `Architecture`.
    """

    name: str
    stem_width: int
    stem_stride: int
    first_width: int
    stages: tuple[Stage, ...]
    head_width: int
    candidates: tuple[Operation, ...] = PAPER
    first: Operation = InvertedBottleneck(1, 3)
    first_stride: int = 1
    features_width: int = 0
    activation: str = "relu6"

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
            features_width=scale_head(self.features_width, width_multiplier) if self.features_width else 0,
        )

    def block_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(input_width, output_width, stride) of each searched block."""
        shapes, width = [], self.first_width
        for stage in self.stages:
            for index in range(stage.num_blocks):
                shapes.append((width, stage.width, stage.stride if index == 0 else 1))
                width = stage.width
        return tuple(shapes)

    def block_candidates(self) -> tuple[tuple[Operation, ...], ...]:
        """What each searched block is offered and can run, in the space's order."""
        offered = (
            stage.candidates or self.candidates for stage in self.stages for _ in range(stage.num_blocks)
        )
        return tuple(
            tuple(operation for operation in candidates if allows(operation, stride, i, o))
            for candidates, (i, o, stride) in zip(offered, self.block_shapes(), strict=True)
        )

    def choices(self, resolution: int) -> tuple[Choice, ...]:
        """Every searched block with its candidates' shapes at this input resolution."""
        size = self.fixed_before(resolution)[-1].output_size
        choices = []
        for shape, operations in zip(self.block_shapes(), self.block_candidates(), strict=True):
            specs = tuple(BlockSpec(size, *shape, operation) for operation in operations)
            choices.append(Choice(specs))
            # All candidates of a block have its stride, and so one size of output.
            size = specs[0].output_size
        return tuple(choices)

    def fixed_before(self, resolution: int) -> tuple[LayerSpec, ...]:
        """The stem and the fixed first block."""
        stem = StemSpec(resolution, 3, self.stem_width, self.stem_stride)
        first = BlockSpec(stem.output_size, self.stem_width, self.first_width, self.first_stride, self.first)
        return stem, first

    def fixed_after(self, resolution: int, num_classes: int) -> tuple[LayerSpec, ...]:
        """The head, the features if there are any, the classifier."""
        last = self.choices(resolution)[-1].specs[0]
        return layers_after(
            last.output_size, last.output_width, self.head_width, self.features_width, num_classes
        )

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
        first = Block(self.first, self.first_width, self.first_stride)
        blocks = tuple(
            Block(operation, width, stride)
            for operation, (_, width, stride) in zip(operations, shapes, strict=True)
        )
        return Architecture(
            self.stem_width,
            self.stem_stride,
            (first, *blocks),
            self.head_width,
            name,
            features_width=self.features_width,
            activation=self.activation,
        )

    def size(self) -> int:
        """How many architectures the space holds."""
        return math.prod(map(len, self.block_candidates()))


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

# MobileNetV4-Conv-S (`nas_tf.space.published`) is one of its networks: with the same layers before and
# after, and two blocks more for each later stage, since fast runtimes leave room for them.
UNIVERSAL_SPACE = SearchSpace(
    "universal",
    stem_width=32,
    stem_stride=2,
    first=ConvolutionPair(1, 3),
    first_stride=2,
    first_width=32,
    head_width=960,
    features_width=1280,
    activation="relu",
    candidates=UNIVERSAL,
    stages=(Stage(64, 3, 2, UNIVERSAL_EARLY), Stage(96, 8, 2), Stage(128, 8, 2)),
)

# The layout of `SMALL` with the candidates of `UNIVERSAL_SPACE`.
SMALL_UNIVERSAL = dataclasses.replace(
    SMALL,
    name="small_universal",
    activation="relu",
    candidates=UNIVERSAL,
    stages=(dataclasses.replace(SMALL.stages[0], candidates=UNIVERSAL_EARLY), *SMALL.stages[1:]),
)

SPACES = {space.name: space for space in (FULL, SMALL, SMALL_UNIVERSAL, TINY, UNIVERSAL_SPACE)}


def find_space(name: str) -> SearchSpace:
    """The search space of this name."""
    if name not in SPACES:
        raise UserError(f"Unknown search space {name!r}; allowed: {', '.join(SPACES)}.")
    return SPACES[name]
