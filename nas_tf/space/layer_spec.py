"""One layer of a network with its shapes: what it costs, and its key in a latency table."""

import dataclasses

from nas_tf.space.operations import InvertedBottleneck, Operation, Zero

IMAGE_CHANNELS = 3


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """Shapes of a layer: [input_size, input_size, input_width] → [output_size, …, output_width].

    `batch_norm` parameters count scale and shift; moving statistics are not parameters.
    """

    input_size: int
    input_width: int
    output_width: int
    stride: int = 1

    @property
    def output_size(self) -> int:
        """Side of the output, ceil(input_size / stride)."""
        return -(-self.input_size // self.stride)

    def _io(self) -> str:
        i, o = self.input_size, self.output_size
        return f"input:{i}x{i}x{self.input_width}-output:{o}x{o}x{self.output_width}"


@dataclasses.dataclass(frozen=True)
class StemSpec(LayerSpec):
    """3×3 convolution, batch norm, ReLU6."""

    kernel: int = 3

    @property
    def key(self) -> str:
        """Key in a latency table."""
        return f"Conv-{self._io()}"

    @property
    def params(self) -> int:
        """Trainable parameters."""
        return self.kernel**2 * self.input_width * self.output_width + 2 * self.output_width

    @property
    def macs(self) -> int:
        """Multiply-adds of one image."""
        return self.output_size**2 * self.kernel**2 * self.input_width * self.output_width


@dataclasses.dataclass(frozen=True)
class BlockSpec(LayerSpec):
    """A block with its operation; stride 1 and equal widths give it an identity shortcut."""

    operation: Operation = Zero()

    @property
    def has_shortcut(self) -> bool:
        """Whether the block adds its input to its output."""
        return self.stride == 1 and self.input_width == self.output_width

    @property
    def key(self) -> str | None:
        """Key in a latency table; None for ZeroOp, which costs nothing."""
        if isinstance(self.operation, Zero):
            return None
        return (
            f"expanded_conv-{self._io()}-expand:{self.operation.expansion}"
            f"-kernel:{self.operation.kernel}-stride:{self.stride}"
            f"-idskip:{int(self.has_shortcut)}"
        )

    @property
    def hidden_width(self) -> int:
        """Channels between expansion and projection."""
        return self.input_width * self.operation.expansion

    @property
    def params(self) -> int:
        """Trainable parameters."""
        if isinstance(self.operation, Zero):
            return 0
        hidden, kernel = self.hidden_width, self.operation.kernel
        expand = self.input_width * hidden + 2 * hidden if self.operation.expansion > 1 else 0
        depthwise = kernel**2 * hidden + 2 * hidden
        return expand + depthwise + hidden * self.output_width + 2 * self.output_width

    @property
    def macs(self) -> int:
        """Multiply-adds of one image."""
        if isinstance(self.operation, Zero):
            return 0
        hidden, area = self.hidden_width, self.output_size**2
        expand = self.input_size**2 * self.input_width * hidden
        return (
            (expand if self.operation.expansion > 1 else 0)
            + area * self.operation.kernel**2 * hidden
            + area * hidden * self.output_width
        )


@dataclasses.dataclass(frozen=True)
class HeadSpec(LayerSpec):
    """1×1 convolution, batch norm, ReLU6 before pooling."""

    @property
    def key(self) -> str:
        """Key in a latency table."""
        return f"Conv_1-{self._io()}"

    @property
    def params(self) -> int:
        """Trainable parameters."""
        return self.input_width * self.output_width + 2 * self.output_width

    @property
    def macs(self) -> int:
        """Multiply-adds of one image."""
        return self.output_size**2 * self.input_width * self.output_width


@dataclasses.dataclass(frozen=True)
class ClassifierSpec(LayerSpec):
    """Global average pooling and a fully connected layer; `output_width` is the class count."""

    @property
    def key(self) -> str:
        """Key in a latency table."""
        return (
            f"Logits-input:{self.input_size}x{self.input_size}x{self.input_width}-output:{self.output_width}"
        )

    @property
    def params(self) -> int:
        """Trainable parameters."""
        return (self.input_width + 1) * self.output_width

    @property
    def macs(self) -> int:
        """Multiply-adds of one image."""
        return self.input_width * self.output_width


def allows(operation: Operation, stride: int, input_width: int, output_width: int) -> bool:
    """Whether a block of this shape may use `operation`: only identity-shaped blocks can be skipped."""
    return isinstance(operation, InvertedBottleneck) or (stride == 1 and input_width == output_width)
