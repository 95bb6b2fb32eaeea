"""An architecture as plain data, with its JSON form and its short string."""

import dataclasses
import re
from typing import Any

from nas_tf.base.errors import UserError, quoted, require, shortened
from nas_tf.space.candidates import parse_operation
from nas_tf.space.layer_spec import (
    IMAGE_CHANNELS,
    BlockSpec,
    LayerSpec,
    StemSpec,
    layers_after,
)
from nas_tf.space.operations.operation import Operation, fits_shortcut

FORMAT = "nas_tf.architecture/1"
PADDINGS = ("same", "symmetric")
ACTIVATIONS = ("relu6", "relu")
# Far above any network; larger numbers, in a file from elsewhere, are no architecture.
_MAX_WIDTH = 65536
_MAX_BLOCKS = 1024
_MAX_STRING = 64 * _MAX_BLOCKS  # a block's part of a short string is below 64 characters


def scale_width(width: int, multiplier: float) -> int:
    """Width times multiplier, rounded to a multiple of 8 and never below 90 % of the product.

    Source: MobileNetV2's `_make_divisible`.
    """
    scaled = width * multiplier
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def scale_head(width: int, multiplier: float) -> int:
    """Head width, scaled only by multipliers above 1 (MobileNetV2's rule)."""
    return scale_width(width, multiplier) if multiplier > 1 else width


@dataclasses.dataclass(frozen=True)
class Block:
    """One block: its operation, output width and stride. The input width follows from the one before.

    Attributes:
      shortcut: whether it adds its input to its output; None becomes, when the architecture is
        made, whether its shape allows that.
    """

    operation: Operation
    width: int
    stride: int = 1
    shortcut: bool | None = None


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network up to its class count: absolute widths, independent of the resolution.

    Attributes:
      stem_width, stem_stride: the first 3×3 convolution.
      blocks: all blocks, the fixed expansion-1 block first.
      head_width: width of the 1×1 convolution before pooling.
      name: for people; not part of equality.
      padding: "same" (TensorFlow's), or "symmetric": k // 2 on each side, as in networks
        trained with PyTorch. They differ where the stride is 2 and the size even.
      features_width: width of the 1×1 convolution between pooling and classifier; 0: there is none.
      activation: of every convolution that is not linear, "relu6" or "relu".
      image_border: network input [3] that pads the image under "symmetric"; not zero where
        weights were trained on images of another scaling, whose zero it is.
    """

    stem_width: int
    stem_stride: int
    blocks: tuple[Block, ...]
    head_width: int
    name: str = dataclasses.field(default="", compare=False)
    padding: str = "same"
    image_border: tuple[float, float, float] = (0.0, 0.0, 0.0)
    features_width: int = 0
    activation: str = "relu6"

    def __post_init__(self) -> None:
        for what, given, allowed in (
            ("padding", self.padding, PADDINGS),
            ("activation", self.activation, ACTIVATIONS),
        ):
            require(given in allowed, f"Unknown {what} {quoted(given)}; allowed: {', '.join(allowed)}.")
        _require_few(self.blocks)
        require(
            len(self.image_border) == 3 and all(-2 < v < 2 for v in self.image_border),
            f"The image border must be 3 numbers in (-2, 2), not {quoted(self.image_border)}.",
        )
        object.__setattr__(self, "blocks", _with_shortcuts(self.stem_width, self.blocks))
        for label, value in (
            ("stem width", self.stem_width),
            ("head width", self.head_width),
            *((("features width", self.features_width),) if self.features_width else ()),
            *(("block width", b.width) for b in self.blocks),
        ):
            require(0 < value <= _MAX_WIDTH, f"The {label} must be 1 to {_MAX_WIDTH}, not {quoted(value)}.")
        for value in (self.stem_stride, *(b.stride for b in self.blocks)):
            require(value in (1, 2), f"A stride must be 1 or 2, not {quoted(value)}.")

    def scaled(self, width_multiplier: float) -> "Architecture":
        """The same operations with every width multiplied and rounded to a multiple of 8."""
        if width_multiplier == 1:
            return self
        blocks = []
        for block, fits in zip(self.blocks, _fitting(self.stem_width, self.blocks), strict=True):
            # Widths that differ can become equal: what its shape decided, it decides again.
            shortcut = None if block.shortcut == fits else block.shortcut
            blocks.append(
                dataclasses.replace(
                    block, width=scale_width(block.width, width_multiplier), shortcut=shortcut
                )
            )
        return dataclasses.replace(
            self,
            stem_width=scale_width(self.stem_width, width_multiplier),
            blocks=tuple(blocks),
            head_width=scale_head(self.head_width, width_multiplier),
            features_width=scale_head(self.features_width, width_multiplier) if self.features_width else 0,
        )

    def layers(self, resolution: int, num_classes: int) -> tuple[LayerSpec, ...]:
        """Every layer with its shapes for an input of resolution × resolution × 3.

        Order: stem, blocks (ZeroOps included), head, features if there are any, classifier.
        """
        layers: list[LayerSpec] = [StemSpec(resolution, IMAGE_CHANNELS, self.stem_width, self.stem_stride)]
        for block in self.blocks:
            last = layers[-1]
            layers.append(
                BlockSpec(
                    last.output_size,
                    last.output_width,
                    block.width,
                    block.stride,
                    block.operation,
                    block.shortcut,
                )
            )
        last = layers[-1]
        ends = layers_after(
            last.output_size, last.output_width, self.head_width, self.features_width, num_classes
        )
        return (*layers, *ends)

    def params(self, num_classes: int) -> int:
        """Trainable parameters (batch norm: scale and shift), whatever the resolution."""
        return sum(layer.params for layer in self.layers(32, num_classes))

    def macs(self, resolution: int, num_classes: int) -> int:
        """Multiply-adds of one image."""
        return sum(layer.macs for layer in self.layers(resolution, num_classes))

    def latency_keys(self, resolution: int, num_classes: int) -> tuple[str, ...]:
        """Keys of a latency table whose entries sum to this network; ZeroOps have none."""
        keys = (layer.key for layer in self.layers(resolution, num_classes))
        return tuple(key for key in keys if key is not None)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dump`."""
        return {
            "format": FORMAT,
            "name": self.name,
            "padding": self.padding,
            **({"image_border": list(self.image_border)} if any(self.image_border) else {}),
            **({"activation": self.activation} if self.activation != "relu6" else {}),
            "stem": {"width": self.stem_width, "stride": self.stem_stride},
            "blocks": [
                {"operation": b.operation.name, "width": b.width, "stride": b.stride, "shortcut": b.shortcut}
                for b in self.blocks
            ],
            "head_width": self.head_width,
            **({"features_width": self.features_width} if self.features_width else {}),
        }

    def to_string(self) -> str:
        """Short form, `s32x2 1_3c16 3_5c24x2 … Zc24 … h1280`; `c` width, `x2` stride 2.

        A block without a shortcut where its shape allows one ends in `_noskip`. `f1280` is a
        convolution behind the pooling; `relu` and `symmetric` stand at the end where they hold.
        """

        def stride(value: int) -> str:
            return f"x{value}" if value != 1 else ""

        body = " ".join(
            f"{b.operation.name}c{b.width}{stride(b.stride)}{'_noskip' if fits and not b.shortcut else ''}"
            for b, fits in zip(self.blocks, _fitting(self.stem_width, self.blocks), strict=True)
        )
        tail = "".join(
            f" {text}"
            for text, holds in (
                (f"f{self.features_width}", self.features_width),
                (self.activation, self.activation != "relu6"),
                (self.padding, self.padding != "same"),
            )
            if holds
        )
        return f"s{self.stem_width}{stride(self.stem_stride)} {body} h{self.head_width}{tail}"


def from_json(content: Any, where: str = "architecture") -> Architecture:
    """The architecture in parsed JSON; `where` names the file in the `UserError`s."""
    try:
        require(
            content["format"] == FORMAT,
            f"The {where} has format {quoted(content['format'])}; this version reads {FORMAT!r}.",
        )
        _require_few(content["blocks"])
        blocks = tuple(
            Block(
                parse_operation(_text(b["operation"])),
                _integer(b["width"]),
                _integer(b["stride"]),
                _shortcut(b.get("shortcut")),
            )
            for b in content["blocks"]
        )
        return Architecture(
            _integer(content["stem"]["width"]),
            _integer(content["stem"]["stride"]),
            blocks,
            _integer(content["head_width"]),
            str(content.get("name", "")),
            content.get("padding", "same"),
            _border(content.get("image_border", (0.0, 0.0, 0.0))),
            _integer(content.get("features_width", 0)),
            content.get("activation", "relu6"),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"The {where} is not an architecture file ({shortened(repr(error))}).") from error


_TOKEN = re.compile(r"(?P<operation>\w{1,30}?)c(?P<width>\d{1,5})(x(?P<stride>\d))?(?P<noskip>_noskip)?")
_STEM = re.compile(r"s(?P<width>\d{1,5})(x(?P<stride>\d))?")


def from_string(text: str) -> Architecture:
    """The architecture of a short string (see `Architecture.to_string`)."""
    require(
        len(text) <= _MAX_STRING,
        f"{quoted(text)} of {len(text):,} characters is not an architecture string; at most {_MAX_STRING:,} "
        "are read.",
    )
    tokens = text.split()
    padding = tokens.pop() if tokens and tokens[-1] in PADDINGS else "same"
    activation = tokens.pop() if tokens and tokens[-1] in ACTIVATIONS else "relu6"
    features = re.fullmatch(r"f([1-9]\d{0,4})", tokens[-1]) if tokens else None
    if features:
        tokens.pop()
    stem = _STEM.fullmatch(tokens[0]) if tokens else None
    head = re.fullmatch(r"h(\d{1,5})", tokens[-1]) if tokens else None
    body = [match for token in tokens[1:-1] if (match := _TOKEN.fullmatch(token))]
    if not (stem and head and body and len(body) == len(tokens) - 2):
        raise UserError(
            f"{quoted(text, 200)} is not an architecture string; the form is 's32x2 1_3c16 3_5c24x2 … h1280'."
        )
    _require_few(body)
    blocks = tuple(
        Block(
            parse_operation(m["operation"]),
            int(m["width"]),
            int(m["stride"] or 1),
            False if m["noskip"] else None,
        )
        for m in body
    )
    return Architecture(
        int(stem["width"]),
        int(stem["stride"] or 1),
        blocks,
        int(head[1]),
        padding=padding,
        features_width=int(features[1]) if features else 0,
        activation=activation,
    )


def in_words(architecture: Architecture) -> str:
    """Operations grouped by width: `1_3 | 3_5 3_3 Z Z | 3_7 …`."""
    groups: list[list[str]] = [[]]
    width = architecture.stem_width
    for block in architecture.blocks:
        if block.width != width and groups[-1]:
            groups.append([])
        groups[-1].append(block.operation.name)
        width = block.width
    return " | ".join(" ".join(group) for group in groups)


def skipped(architecture: Architecture) -> int:
    """How many blocks are ZeroOps."""
    # Any resolution and class count: neither changes a block.
    return sum(layer.is_skipped for layer in architecture.layers(32, 1) if isinstance(layer, BlockSpec))


def _fitting(width: int, blocks: tuple[Block, ...]) -> list[bool]:
    """For each block whether its shape allows a shortcut; `width` is that of its input."""
    fitting = []
    for block in blocks:
        fitting.append(fits_shortcut(block.stride, width, block.width))
        width = block.width
    return fitting


def _with_shortcuts(width: int, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """The blocks with every shortcut decided, and refused where it does not fit."""
    decided = []
    for index, (block, fits) in enumerate(zip(blocks, _fitting(width, blocks), strict=True)):
        shape = f"({width} to {block.width} channels, stride {block.stride})"
        shortcut = fits if block.shortcut is None else block.shortcut
        misfit = block.operation.misfit(width, block.width, block.stride)
        require(
            not misfit,
            f"Block {index} {shape} cannot run the operation {block.operation.name!r}: {misfit}.",
        )
        require(fits or not shortcut, f"Block {index} has a shortcut but changes the shape {shape}.")
        skipped_whole = not block.operation.convolutions(width, block.width, block.stride)
        require(
            shortcut or not skipped_whole,
            f"Block {index} is a ZeroOp without a shortcut: nothing would be left of it.",
        )
        decided.append(dataclasses.replace(block, shortcut=shortcut))
        width = block.width
    return tuple(decided)


def _require_few(blocks: Any) -> None:
    require(
        0 < len(blocks) <= _MAX_BLOCKS,
        f"An architecture has 1 to {_MAX_BLOCKS} blocks, not {len(blocks)}.",
    )


def _border(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{quoted(value)} is not the name of an operation")
    return value


def _shortcut(value: Any) -> bool | None:
    """None in files from before shortcuts were written: there the shape decides."""
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{quoted(value)} is not true or false")
    return value


def _integer(value: Any) -> int:
    # JSON's true and false are integers to Python.
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{quoted(value)} is not a whole number")
    return value
