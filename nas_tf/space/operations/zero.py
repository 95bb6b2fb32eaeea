"""ZeroOp: a block that is left out."""

import dataclasses

from nas_tf.space.operations.operation import Convolution, Drawing, Operation, fits_shortcut


@dataclasses.dataclass(frozen=True)
class Zero(Operation):
    """Skips the block: its output is the identity shortcut alone. Costs nothing."""

    grammar = "'Z'"

    @property
    def name(self) -> str:
        """`Z`."""
        return "Z"

    @classmethod
    def parse(cls, name: str) -> "Zero | None":
        """`"Z"`."""
        return ZERO if name == "Z" else None

    def convolutions(self, input_width: int, output_width: int, stride: int) -> tuple[Convolution, ...]:
        """None."""
        return ()

    def misfit(self, input_width: int, output_width: int, stride: int) -> str:
        """Nothing but the shortcut is left of a skipped block."""
        if fits_shortcut(stride, input_width, output_width):
            return ""
        return "only identity-shaped blocks can be skipped"

    @property
    def key_fields(self) -> str:
        """Empty: no table has an entry of it."""
        return ""

    @classmethod
    def from_key_fields(cls, fields: str) -> "Zero | None":
        """None: no table has an entry of it."""
        return None

    @property
    def drawing(self) -> Drawing:
        """An empty frame."""
        return Drawing("skip", 0, 1)


ZERO = Zero()
