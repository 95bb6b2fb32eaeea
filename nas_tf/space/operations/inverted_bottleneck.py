"""The inverted bottleneck of MobileNetV2 and ProxylessNAS."""

import dataclasses
import re

from nas_tf.space.operations.operation import Convolution, Drawing, Operation


@dataclasses.dataclass(frozen=True)
class InvertedBottleneck(Operation):
    """1×1 expansion, depthwise k×k, 1×1 linear projection (Sandler et al., 2018)."""

    layer_name = "expanded_conv"  # as in the published latency table
    grammar = "'expansion_kernel' with expansion 1-9 and kernel 1, 3, 5 or 7"

    expansion: int
    kernel: int

    @property
    def name(self) -> str:
        """`expansion_kernel`, as in the published architectures."""
        return f"{self.expansion}_{self.kernel}"

    @classmethod
    def parse(cls, name: str) -> "InvertedBottleneck | None":
        """`"6_5"` is expansion 6, kernel 5."""
        match = re.fullmatch(r"([1-9])_([1357])", name)
        return cls(int(match[1]), int(match[2])) if match else None

    def convolutions(
        self,
        input_width: int,
        output_width: int,
        stride: int,
    ) -> tuple[Convolution, ...]:
        """Expansion (none where it is 1), depthwise, projection."""
        hidden = input_width * self.expansion
        expand = (Convolution("expand", 1, input_width, hidden),) if self.expansion > 1 else ()
        return (
            *expand,
            Convolution("depthwise", self.kernel, hidden, hidden, stride, depthwise=True),
            Convolution("project", 1, hidden, output_width, activation=False),
        )

    @property
    def key_fields(self) -> str:
        """As in the published latency table."""
        return f"expand:{self.expansion}-kernel:{self.kernel}"

    @classmethod
    def from_key_fields(cls, fields: str) -> "InvertedBottleneck | None":
        """The opposite of `key_fields`."""
        match = re.fullmatch(r"expand:([1-9])-kernel:([1357])", fields)
        return cls(int(match[1]), int(match[2])) if match else None

    @property
    def drawing(self) -> Drawing:
        """Colour by kernel, height by expansion."""
        return Drawing(f"MB{self.expansion} {self.kernel}×{self.kernel}", self.kernel, self.expansion)
