"""The universal inverted bottleneck of MobileNetV4."""

import dataclasses
import re

from nas_tf.space.operations.operation import Convolution, Drawing, Operation, Part

_DIGITS = "([1-9])_([0357])([0357])"


@dataclasses.dataclass(frozen=True)
class UniversalBottleneck(Operation):
    """Depthwise or none, 1×1 expansion, depthwise or none, 1×1 linear projection (Qin et al., 2024).

    Its four forms have names there: inverted bottleneck (middle alone), ConvNeXt-like (start alone),
    extra depthwise (both), feed-forward network (neither). Nothing is activated after the first
    depthwise convolution, as in the authors' code.

    Attributes:
      expansion: width between over width of the input.
      start, middle: sides of the depthwise kernels before and after the expansion; 0: none.
    """

    layer_name = "universal"
    grammar = "'Uexpansion_startmiddle' with expansion 1-9, start and middle 0, 3, 5 or 7"

    expansion: int
    start: int
    middle: int

    @property
    def name(self) -> str:
        """`U4_35`: expansion 4, start 3, middle 5."""
        return f"U{self.expansion}_{self.start}{self.middle}"

    @classmethod
    def parse(cls, name: str) -> "UniversalBottleneck | None":
        """The opposite of `name`."""
        return cls._of(re.fullmatch(f"U{_DIGITS}", name))

    def convolutions(self, input_width: int, output_width: int, stride: int) -> tuple[Convolution, ...]:
        """Start, expansion, middle, projection; the last depthwise one has the stride."""
        hidden = input_width * self.expansion
        found = []
        if self.start:
            own = 1 if self.middle else stride
            found.append(
                Convolution(
                    "start", self.start, input_width, input_width, own, depthwise=True, activation=False
                )
            )
        found.append(Convolution("expand", 1, input_width, hidden))
        if self.middle:
            found.append(Convolution("depthwise", self.middle, hidden, hidden, stride, depthwise=True))
        return (*found, Convolution("project", 1, hidden, output_width, activation=False))

    def parts(self, input_width: int, output_width: int, stride: int) -> tuple[Part, ...]:
        """Both depthwise places are optional, but for the one that has the stride."""
        whole = dataclasses.replace(self, start=self.start or 3, middle=self.middle or 3)
        own = {c.name for c in self.convolutions(input_width, output_width, stride)}
        # The start alone has the stride: other strides than where a middle follows.
        if stride > 1 and not self.middle:
            return super().parts(input_width, output_width, stride)
        optional = {"start"} if stride > 1 else {"start", "depthwise"}
        return tuple(
            Part(c, c.name in optional, c.name in own)
            for c in whole.convolutions(input_width, output_width, stride)
        )

    def misfit(self, input_width: int, output_width: int, stride: int) -> str:
        """A stride needs a depthwise convolution to have it."""
        if stride == 1 or self.start or self.middle:
            return ""
        return f"without a depthwise convolution nothing can have its stride of {stride}"

    @property
    def key_fields(self) -> str:
        """All of its numbers."""
        return f"expand:{self.expansion}-kernels:{self.start}{self.middle}"

    @classmethod
    def from_key_fields(cls, fields: str) -> "UniversalBottleneck | None":
        """The opposite of `key_fields`."""
        return cls._of(re.fullmatch("expand:([1-9])-kernels:([0357])([0357])", fields))

    @property
    def drawing(self) -> Drawing:
        """Colour by the larger kernel, height by expansion."""
        kernels = [f"{side}×{side}" for side in (self.start, self.middle) if side]
        largest = max(self.start, self.middle, 1)
        return Drawing(f"U{self.expansion} {' '.join(kernels) or 'FFN'}", largest, self.expansion)

    @classmethod
    def _of(cls, match: re.Match | None) -> "UniversalBottleneck | None":
        return cls(*map(int, match.groups())) if match else None
