"""One layer of a network with its shapes: what it costs, and its key in a latency table."""

import dataclasses

from nas_tf.base.errors import require
from nas_tf.space.operations.operation import Convolution, Operation, fits_shortcut, total_macs
from nas_tf.space.operations.zero import ZERO

IMAGE_CHANNELS = 3


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """Shapes of a layer: [input_size, input_size, input_width] → [output_size, …, output_width].

    Parameters count batch norm's scale and shift; moving statistics are not parameters.
    """

    input_size: int
    input_width: int
    output_width: int
    stride: int = 1

    @property
    def output_size(self) -> int:
        """Side of the output, ceil(input_size / stride)."""
        return -(-self.input_size // self.stride)

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """What the layer consists of, in order; not the classifier."""
        return ()

    @property
    def params(self) -> int:
        """Trainable parameters."""
        return sum(convolution.params for convolution in self.convolutions)

    @property
    def macs(self) -> int:
        """Multiply-adds of one image."""
        return total_macs(self.convolutions, self.input_size)

    @property
    def key(self) -> str | None:
        """Key in a latency table; None for what costs nothing."""
        raise NotImplementedError

    # As the published phone table writes its keys, so that it can be used as it is.
    def _io(self) -> str:
        i, o = self.input_size, self.output_size
        return f"input:{i}x{i}x{self.input_width}-output:{o}x{o}x{self.output_width}"


@dataclasses.dataclass(frozen=True)
class StemSpec(LayerSpec):
    """3×3 convolution, batch norm, activation."""

    kernel: int = 3

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """One."""
        return (Convolution("stem", self.kernel, self.input_width, self.output_width, self.stride),)

    @property
    def key(self) -> str:
        """Key in a latency table."""
        return f"Conv-{self._io()}"


@dataclasses.dataclass(frozen=True)
class BlockSpec(LayerSpec):
    """A block with its operation.

    Attributes:
      has_shortcut: whether the block adds its input to its output; None becomes whether its
        shape allows that.

    Raises:
      UserError: a shortcut that does not fit the shape.
    """

    operation: Operation = ZERO
    has_shortcut: bool | None = None

    def __post_init__(self) -> None:
        fits = fits_shortcut(self.stride, self.input_width, self.output_width)
        if self.has_shortcut is None:
            object.__setattr__(self, "has_shortcut", fits)
        require(
            fits or not self.has_shortcut,
            f"A block from {self.input_width} to {self.output_width} channels with stride "
            f"{self.stride} cannot have an identity shortcut; stride 1 and equal widths can.",
        )

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """The operation's, beside the shortcut."""
        return self.operation.convolutions(self.input_width, self.output_width, self.stride)

    @property
    def is_skipped(self) -> bool:
        """Whether the shortcut is all there is."""
        return not self.convolutions

    @property
    def key(self) -> str | None:
        """Key in a latency table; None for a skipped block, which costs nothing."""
        if self.is_skipped:
            return None
        return (
            f"{self.operation.layer_name}-{self._io()}-{self.operation.key_fields}"
            f"-stride:{self.stride}-idskip:{int(bool(self.has_shortcut))}"
        )


@dataclasses.dataclass(frozen=True)
class HeadSpec(LayerSpec):
    """1×1 convolution, batch norm, activation before pooling."""

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """One."""
        return (Convolution("head", 1, self.input_width, self.output_width),)

    @property
    def key(self) -> str:
        """Key in a latency table."""
        return f"Conv_1-{self._io()}"


@dataclasses.dataclass(frozen=True)
class FeaturesSpec(LayerSpec):
    """Global average pooling, then a 1×1 convolution, batch norm, activation (MobileNetV3's order)."""

    @property
    def output_size(self) -> int:
        """1: it pools."""
        return 1

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """One, behind the pooling."""
        return (Convolution("features", 1, self.input_width, self.output_width),)

    @property
    def macs(self) -> int:
        """Multiply-adds of one image, at one position."""
        return total_macs(self.convolutions, 1)

    @property
    def key(self) -> str:
        """Key in a latency table."""
        return f"Conv_2-{self._io()}"


@dataclasses.dataclass(frozen=True)
class ClassifierSpec(LayerSpec):
    """Global average pooling and a fully connected layer; `output_width` is the class count.

    Attributes:
      pools: False where the layer before has pooled.
    """

    pools: bool = True

    @property
    def key(self) -> str:
        """Key in a latency table."""
        size = f"{self.input_size}x{self.input_size}x" if self.pools else ""
        return f"Logits-input:{size}{self.input_width}-output:{self.output_width}"

    @property
    def params(self) -> int:
        """Trainable parameters."""
        # + 1: the bias. No other layer has one beside batch norm's shift.
        return (self.input_width + 1) * self.output_width

    @property
    def macs(self) -> int:
        """Multiply-adds of one image."""
        return self.input_width * self.output_width


def allows(operation: Operation, stride: int, input_width: int, output_width: int) -> bool:
    """Whether a block of this shape may use `operation`."""
    return not operation.misfit(input_width, output_width, stride)


def layers_after(
    input_size: int, input_width: int, head_width: int, features_width: int, num_classes: int
) -> tuple[LayerSpec, ...]:
    """What follows the blocks: the head, the features where there are any, the classifier."""
    head = HeadSpec(input_size, input_width, head_width)
    if not features_width:
        return head, ClassifierSpec(input_size, head_width, num_classes)
    features = FeaturesSpec(input_size, head_width, features_width)
    return head, features, ClassifierSpec(1, features_width, num_classes, pools=False)
