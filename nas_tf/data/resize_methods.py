"""The ways in which apps bring a photograph to a network's size, by name. Imports no TensorFlow."""

import dataclasses

from nas_tf.base.errors import require

# What becomes of the image's shape: its short side is brought to `resize_size` and the centre is cut out
# (ours); the largest centre square is cut out and resized; or the whole image is squashed to the square.
SHORT_SIDE, SQUARE, SQUASH = "short_side", "square", "squash"
# Two neighbours an axis, however much the image shrinks; the same kernel widened where it shrinks; the
# nearest pixel; the mean of the pixels that an output pixel covers.
BILINEAR, ANTIALIASED, NEAREST, AREA = "bilinear", "antialiased", "nearest", "area"


@dataclasses.dataclass(frozen=True)
class ResizeMethod:
    """A geometry and a filter of those above.

    Attributes:
      words: what it does, and who does it, for people.
    """

    geometry: str
    filter: str
    words: str


CONTRACT = "antialias"
# Draws of `nas_tf.data.resizers.draw` are places in this order: a new one belongs to the end.
METHODS: dict[str, ResizeMethod] = {
    CONTRACT: ResizeMethod(
        SHORT_SIDE, ANTIALIASED, "short side, antialiased, centre crop: this project, Pillow"
    ),
    "area": ResizeMethod(SHORT_SIDE, AREA, "short side, mean of areas, centre crop: OpenCV's INTER_AREA"),
    "bilinear": ResizeMethod(
        SHORT_SIDE, BILINEAR, "short side, not antialiased, centre crop: Android's createScaledBitmap, OpenCV"
    ),
    "nearest": ResizeMethod(SHORT_SIDE, NEAREST, "short side, nearest pixel, centre crop"),
    "square": ResizeMethod(SQUARE, ANTIALIASED, "largest centre square, antialiased"),
    "square_bilinear": ResizeMethod(
        SQUARE, BILINEAR, "largest centre square, not antialiased: TFLite Support's crop and ResizeOp"
    ),
    "square_nearest": ResizeMethod(
        SQUARE, NEAREST, "largest centre square, nearest pixel: TFLite's classification sample for Android"
    ),
    "squash": ResizeMethod(SQUASH, ANTIALIASED, "whole image squashed to the square, antialiased"),
    "squash_bilinear": ResizeMethod(
        SQUASH, BILINEAR, "whole image squashed to the square, not antialiased: a ResizeOp alone"
    ),
}
OTHERS = tuple(name for name in METHODS if name != CONTRACT)


def find(name: str, flag: str = "resize_method") -> ResizeMethod:
    """The method of this name; `UserError` names the flag and what is allowed."""
    require(name in METHODS, f"--{flag} has {name!r}; allowed: {', '.join(METHODS)}.")
    return METHODS[name]


def in_words(name: str, resolution: int, resize_size: int) -> str:
    """Resize and crop with their sizes in pixels, for people."""
    method = find(name)
    side = f"{resolution} × {resolution} pixels"
    how = {NEAREST: "nearest pixel", AREA: "mean of areas", BILINEAR: "bilinear, not antialiased"}.get(
        method.filter, "bilinear, antialiased"
    )
    if method.geometry == SQUASH:
        return f"the whole image squashed to {side}, {how}"
    if method.geometry == SQUARE:
        return f"the largest centre square resized to {side}, {how}"
    return f"short side to {resize_size} pixels, {how}, and {side} at the centre"
