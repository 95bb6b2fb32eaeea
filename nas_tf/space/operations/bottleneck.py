"""What bottlenecks have in common: they are told apart by how far they expand, and by their kernel."""

import dataclasses
import re
from typing import ClassVar

from nas_tf.space.operations.operation import Drawing, Operation


@dataclasses.dataclass(frozen=True)
class Bottleneck(Operation):
    """An operation that widens its input, filters it and narrows it again.

    A subclass says its `layer_name`, `grammar`, `prefix`, `label` and `convolutions`.

    Attributes:
      prefix: what its short names begin with.
      label: what its label in a picture begins with.
      expansion: width between over width of the input.
      kernel: side of the square kernel.
    """

    prefix: ClassVar[str]
    label: ClassVar[str]

    expansion: int
    kernel: int

    @property
    def name(self) -> str:
        """`expansion_kernel` after the prefix."""
        return f"{self.prefix}{self.expansion}_{self.kernel}"

    @classmethod
    def parse(cls, name: str) -> "Bottleneck | None":
        """`"6_5"` after the prefix is expansion 6, kernel 5."""
        return cls._matched(rf"{cls.prefix}([1-9])_([1357])", name)

    @property
    def key_fields(self) -> str:
        """As in the published latency table."""
        return f"expand:{self.expansion}-kernel:{self.kernel}"

    @classmethod
    def from_key_fields(cls, fields: str) -> "Bottleneck | None":
        """The opposite of `key_fields`."""
        return cls._matched(r"expand:([1-9])-kernel:([1357])", fields)

    @property
    def drawing(self) -> Drawing:
        """Colour by kernel, height by expansion."""
        text = f"{self.label}{self.expansion} {self.kernel}×{self.kernel}"
        return Drawing(text, self.kernel, self.expansion)

    @classmethod
    def _matched(cls, pattern: str, text: str) -> "Bottleneck | None":
        match = re.fullmatch(pattern, text)
        return cls(int(match[1]), int(match[2])) if match else None
