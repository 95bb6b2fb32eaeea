"""What an operation says of itself, and the convolutions that it is made of, as plain data."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution with its batch norm and, unless it is linear, its activation.

    Attributes:
      name: within its block, such as "expand"; names layers and imported tensors.
      kernel: side of the square kernel.
      input_width, output_width: channels; equal where it is depthwise.
      activation: whether the network's activation follows, ReLU6 or ReLU.
    """

    name: str
    kernel: int
    input_width: int
    output_width: int
    stride: int = 1
    depthwise: bool = False
    activation: bool = True

    @property
    def params(self) -> int:
        """Trainable parameters: the kernel, and batch norm's scale and shift."""
        inputs = 1 if self.depthwise else self.input_width
        return self.kernel**2 * inputs * self.output_width + 2 * self.output_width

    def output_size(self, input_size: int) -> int:
        """Side of the output, ceil(input_size / stride)."""
        return -(-input_size // self.stride)

    def macs(self, input_size: int) -> int:
        """Multiply-adds of one image whose side is `input_size`."""
        inputs = 1 if self.depthwise else self.input_width
        return self.output_size(input_size) ** 2 * self.kernel**2 * inputs * self.output_width

    def elements(self, input_size: int) -> int:
        """Elements of activations read and written."""
        return input_size**2 * self.input_width + self.output_size(input_size) ** 2 * self.output_width


@dataclasses.dataclass(frozen=True)
class Part:
    """A convolution of an operation, or its place where candidates of the same form may have one.

    Attributes:
      optional: whether some candidates of this form do without it.
      present: whether this one has it.
    """

    convolution: Convolution
    optional: bool = False
    present: bool = True


def fits_shortcut(stride: int, input_width: int, output_width: int) -> bool:
    """Whether a block of this shape can add its input to its output."""
    return stride == 1 and input_width == output_width


def total_macs(convolutions: Sequence[Convolution], input_size: int) -> int:
    """Multiply-adds of convolutions that follow each other."""
    total = 0
    for convolution in convolutions:
        total += convolution.macs(input_size)
        input_size = convolution.output_size(input_size)
    return total


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How a block with an operation is drawn.

    Attributes:
      label: short text in its column.
      kernel: decides the colour; 0 for a block that is left out.
      height: in units of an expansion.
    """

    label: str
    kernel: int
    height: int


class Operation(abc.ABC):
    """One candidate of a block: a frozen dataclass in a file of its own.

    All that a network, a latency table or a picture has to know of an operation follows from
    what is declared here, so a new one is its file and its entry in `nas_tf.space.candidates`.

    Attributes:
      layer_name: what its keys in a latency table begin with; empty if it has none.
      grammar: its names, for messages.
    """

    layer_name: ClassVar[str] = ""
    grammar: ClassVar[str] = ""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Short name, unique among all operations."""

    @property
    def properties(self) -> tuple[tuple[str, object], ...]:
        """Its kind and its fields, such as `("expansion", 3)`: what it shares with other operations."""
        return (("kind", type(self).__name__), *vars(self).items())

    @classmethod
    @abc.abstractmethod
    def parse(cls, name: str) -> "Operation | None":
        """The operation of a short name, or None if it is not of this kind."""

    @abc.abstractmethod
    def convolutions(self, input_width: int, output_width: int, stride: int) -> tuple[Convolution, ...]:
        """The branch beside the shortcut; none where the shortcut is all."""

    def parts(self, input_width: int, output_width: int, stride: int) -> tuple[Part, ...]:
        """The convolutions with the places of those that others of the same form have.

        In a supernet, candidates whose parts are alike but for widths, kernels and presence are
        computed by one graph; without this, each combination would be a branch of its own.
        """
        return tuple(map(Part, self.convolutions(input_width, output_width, stride)))

    def misfit(self, input_width: int, output_width: int, stride: int) -> str:
        """Why a block of this shape cannot run it, as an end of a sentence; empty where it can."""
        return ""

    @property
    @abc.abstractmethod
    def key_fields(self) -> str:
        """The part of a latency key that tells operations of this kind apart."""

    @classmethod
    @abc.abstractmethod
    def from_key_fields(cls, fields: str) -> "Operation | None":
        """The opposite of `key_fields`."""

    @property
    @abc.abstractmethod
    def drawing(self) -> Drawing:
        """How it is drawn."""
