"""The fused bottleneck of EfficientNet-EdgeTPU and EfficientNetV2."""

import dataclasses
import re

from nas_tf.space.operations.operation import Convolution, Drawing, Operation


@dataclasses.dataclass(frozen=True)
class FusedBottleneck(Operation):
    """k×k convolution that expands, 1×1 linear projection (Gupta and Tan, 2019; Tan and Le, 2021).

    More multiply-adds than an inverted bottleneck, and no depthwise convolution: faster where
    channels are few and the image is large.
    """

    layer_name = "fused_conv"
    grammar = "'Fexpansion_kernel' with expansion 1-9 and kernel 1, 3, 5 or 7"

    expansion: int
    kernel: int

    @property
    def name(self) -> str:
        """`Fexpansion_kernel`."""
        return f"F{self.expansion}_{self.kernel}"

    @classmethod
    def parse(cls, name: str) -> "FusedBottleneck | None":
        """`"F4_3"` is expansion 4, kernel 3."""
        match = re.fullmatch(r"F([1-9])_([1357])", name)
        return cls(int(match[1]), int(match[2])) if match else None

    def convolutions(
        self,
        input_width: int,
        output_width: int,
        stride: int,
    ) -> tuple[Convolution, ...]:
        """Expansion, projection."""
        hidden = input_width * self.expansion
        return (
            Convolution("expand", self.kernel, input_width, hidden, stride),
            Convolution("project", 1, hidden, output_width, activation=False),
        )

    @property
    def key_fields(self) -> str:
        """Like those of an inverted bottleneck."""
        return f"expand:{self.expansion}-kernel:{self.kernel}"

    @classmethod
    def from_key_fields(cls, fields: str) -> "FusedBottleneck | None":
        """The opposite of `key_fields`."""
        match = re.fullmatch(r"expand:([1-9])-kernel:([1357])", fields)
        return cls(int(match[1]), int(match[2])) if match else None

    @property
    def drawing(self) -> Drawing:
        """Colour by kernel, height by expansion."""
        return Drawing(f"FMB{self.expansion} {self.kernel}×{self.kernel}", self.kernel, self.expansion)
