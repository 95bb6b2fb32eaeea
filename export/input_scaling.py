"""How pixels become a model's input: what was asked for, what the file says, or a refusal."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nas_tf.base.errors import UserError, require
from quant import int8

_LEVELS = 256
_CHANNELS = 3
# An integer input on which pixels take fewer values than a quarter of its 256 was not made for them.
_MIN_VALUES = 64
# Range over all channels of (pixel / 255 − mean) / std with ImageNet's usual means.
# Red reaches lowest and blue highest.
_IMAGENET_RANGE = (-0.485 / 0.229, (1 - 0.406) / 0.225)
# Of pixels scaled by one mean and one deviation, as is usual.
_USUAL_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-128.0, 127.0))


@dataclasses.dataclass(frozen=True)
class Normalization:
    """x = (pixel − mean) / std, pixels 0 to 255; one number, or one per channel (RGB).

    Attributes:
      origin: where it was found, for people.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            require(
                len(values) in (1, _CHANNELS) and all(map(math.isfinite, values)),
                f"The {name} of {self.origin} is {_numbers(values)}; needed is one number, or "
                "three, one for each of red, green and blue.",
            )
        require(
            min(self.std) >= 1,
            f"The std of {self.origin} is {_numbers(self.std)}; it is meant in pixel units (0 to "
            "255), at least 1. Numbers for pixels of 0 to 1 are to be multiplied by 255.",
        )

    @property
    def per_channel(self) -> bool:
        """Whether the channels are scaled differently."""
        return len(set(self.mean)) > 1 or len(set(self.std)) > 1

    @property
    def formula(self) -> str:
        """For people."""
        return f"(pixel - {_numbers(self.mean)}) / {_numbers(self.std)}"

    def real(self) -> np.ndarray:
        """float64 [256, 3]: x of each pixel value in each channel."""
        pixels = np.arange(_LEVELS, dtype=np.float64)[:, np.newaxis]
        return np.broadcast_to((pixels - self.mean) / self.std, (_LEVELS, _CHANNELS))


@dataclasses.dataclass(frozen=True)
class InputTensor:
    """A model's input: "uint8", "int8" or "float32"; `scale` 0 where it is not quantized."""

    dtype: str
    scale: float = 0.0
    zero_point: int = 0


@dataclasses.dataclass(frozen=True)
class InputScaling:
    """What is done to pixels.

    Attributes:
      formula: of an input value, before it is put on the integer grid of an integer input.
      reason: why this one, for people.
      table: [256, 3], the input's value for each pixel value in each channel.
    """

    formula: str
    reason: str
    table: np.ndarray

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Input values [..., 3] of uint8 pixels [..., 3]."""
        if self._unchanged:
            return images
        # One look-up for all channels takes a fraction of the time of one that also picks the channel.
        return self._shared[images] if self._shared is not None else self.table[images, np.arange(_CHANNELS)]

    @functools.cached_property
    def _shared(self) -> np.ndarray | None:
        """The table [256] of all channels; None where they differ."""
        same = (self.table == self.table[:, :1]).all()
        return np.ascontiguousarray(self.table[:, 0]) if same else None

    @functools.cached_property
    def _unchanged(self) -> bool:
        """Whether the input is the pixels themselves."""
        return self.table.dtype == np.uint8 and bool((self.table == np.arange(_LEVELS)[:, np.newaxis]).all())

    def facts(self) -> dict[str, Any]:
        """For a summary."""
        return {"formula": self.formula, "reason": self.reason}


def asked(mean: Sequence[str | float], std: Sequence[str | float]) -> Normalization | None:
    """The normalization of `--input_mean` and `--input_std`; None if neither is given."""
    if not mean and not std:
        return None
    require(bool(mean) and bool(std), "Give both --input_mean and --input_std, or neither.")
    try:
        means, deviations = (tuple(float(value) for value in values) for values in (mean, std))
    except ValueError as error:
        raise UserError(
            f"--input_mean={','.join(map(str, mean))} and "
            f"--input_std={','.join(map(str, std))} must be numbers in pixel units, "
            "one or three separated by commas."
        ) from error
    return Normalization(means, deviations, "--input_mean and --input_std")


def decide(
    tensor: InputTensor, given: Normalization | None, own: Normalization | None, model: str
) -> InputScaling:
    """The scaling of a model's input.

    An integer input has one scale for all channels, so whatever one mean and one std do is
    undone by it: it gets the pixels (int8: − 128), unless means differ by channel.

    Args:
      tensor: the input.
      given: asked for; comes first.
      own: what the file says.
      model: for messages.

    Raises:
      UserError: a float input of which nothing is known, or a normalization that does not fit.
    """
    chosen = given or own
    if tensor.dtype == "float32":
        if chosen is None:
            raise UserError(
                f"The model {model!r} takes float32, and nothing in the file says how pixels are "
                "scaled; give --input_mean and --input_std (of a file of --compare_with: "
                "--compare_input_mean and --compare_input_std) in pixel units, x = (pixel - mean) / "
                "std: 0 and 255 for [0, 1], 127.5 and 127.5 for [-1, 1], 0 and 1 for [0, 255], "
                "123.675,116.28,103.53 and 58.395,57.12,57.375 for ImageNet's mean and standard deviation, "
                "128 and 128 for this project's files."
            )
        return InputScaling(
            chosen.formula, f"from {chosen.origin}" + _instead(given, own), chosen.real().astype(np.float32)
        )
    if chosen is not None and (given or chosen.per_channel):
        return _quantized(tensor, chosen, model, _instead(given, own))
    pixels = int8.pixels_as(np.arange(_LEVELS, dtype=np.uint8), tensor.dtype)
    return InputScaling(
        "pixel - 128" if tensor.dtype == "int8" else "pixel",
        f"the input is {tensor.dtype}{_hint(tensor)}",
        np.repeat(pixels[:, np.newaxis], _CHANNELS, 1),
    )


def _quantized(tensor: InputTensor, chosen: Normalization, model: str, instead: str) -> InputScaling:
    """q = round(x / scale) + zero point, as the model's own quantization has it."""
    require(
        math.isfinite(tensor.scale) and tensor.scale > 0,
        f"The {tensor.dtype} input of the model {model!r} has no scale, so {chosen.origin} "
        "cannot be put on its grid; without them it gets the pixels as they are.",
    )
    wanted = int8.to_even(chosen.real() / tensor.scale) + tensor.zero_point
    table = np.clip(wanted, *int8.ends(tensor.dtype)).astype(tensor.dtype)
    values = min(len(np.unique(table[:, channel])) for channel in range(_CHANNELS))
    require(
        values >= _MIN_VALUES,
        f"{chosen.formula} of {chosen.origin} does not fit the {tensor.dtype} input of the model "
        f"{model!r} (scale {tensor.scale:.6g}, zero point {tensor.zero_point}): the 256 pixel "
        f"values would become {values} there, at least {_MIN_VALUES} are needed.",
    )
    clipped = int((wanted != table).any(axis=1).sum())
    note = f"; {clipped} of 256 pixel values are clipped" if clipped else ""
    return InputScaling(
        chosen.formula,
        f"from {chosen.origin}, by the {tensor.dtype} input's own scale "
        f"{tensor.scale:.6g} and zero point {tensor.zero_point}{note}{instead}",
        table,
    )


def _instead(given: Normalization | None, own: Normalization | None) -> str:
    if not given or not own or (given.real() == own.real()).all():
        return ""
    return f" ({own.origin} would be {own.formula})"


def _hint(tensor: InputTensor) -> str:
    """A word where the input's range is that of means and deviations which nobody stated."""
    ends = [(end - tensor.zero_point) * tensor.scale for end in int8.ends(tensor.dtype)]
    if any(_near(ends, usual) for usual in _USUAL_RANGES):
        return ""
    said = f", whose range of {ends[0]:.3g} to {ends[1]:.3g}"
    if _near(ends, _IMAGENET_RANGE):
        return (
            f"{said} looks like ImageNet's means and deviations; if it was trained with them, give "
            "--input_mean=123.675,116.28,103.53 --input_std=58.395,57.12,57.375"
        )
    return (
        f"{said} is that of no usual scaling; if it was trained on (pixel - mean) / std, give --input_mean "
        "and --input_std in pixel units"
    )


def _near(ends: Sequence[float], usual: tuple[float, float]) -> bool:
    """Whether both ends are within a hundredth of the usual range's width."""
    width = usual[1] - usual[0]
    return all(abs(end - other) <= 0.01 * width for end, other in zip(ends, usual, strict=True))


def _numbers(values: Sequence[float]) -> str:
    text = ", ".join(f"{value:g}" for value in values) or "empty"
    return f"[{text}]" if len(values) > 1 else text
