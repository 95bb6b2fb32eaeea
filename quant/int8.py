"""The integer grids of int8 kernels: their ends, steps and roundings, in one place.

    real = scale · (integer − zero point)

An activation has one scale and one zero point per tensor and uses all of −128 … 127. A kernel is
symmetric, its zero point is 0, and it leaves out −128, so that a product of two int8 numbers
negates with its kernel (TFLite's quantization specification).

Two roundings occur, which differ on exact halves alone. Both have to be as they are, for the file
must hold and compute what the simulation does:

- to even: int8 kernels when they rescale a sum, the converter when it rounds biases;
- half up: fake quantization, and so the converter when it rounds kernels.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from nas_tf.data.config import PIXEL_MEAN, PIXEL_STD

LOW, HIGH = -128, 127
STEPS = HIGH - LOW  # from one end of an activation's range to the other
KERNEL_HIGH = 127  # either sign
# Our networks' input, (pixel − 128) / 128: with this step and zero point every pixel is exact.
INPUT_SCALE = 1.0 / PIXEL_STD
INPUT_RANGE = ((0 - PIXEL_MEAN) / PIXEL_STD, (255 - PIXEL_MEAN) / PIXEL_STD)
INPUT_ZERO_POINTS = {"uint8": int(PIXEL_MEAN), "int8": int(PIXEL_MEAN) + LOW}


def to_even(steps):
    """The nearest integer; of two, the even one."""
    return np.round(steps)


def half_up(steps):
    """The nearest integer; of two, the larger."""
    return np.floor(steps + 0.5)


def kernel_integers(steps: np.ndarray, rounding: Callable = to_even) -> np.ndarray:
    """Integers in [−127, 127], as floats, of a kernel in units of its own steps."""
    return np.clip(rounding(steps), -KERNEL_HIGH, KERNEL_HIGH)


def kernel_scale(largest):
    """The step with which a kernel's largest magnitude is 127 steps; arrays and tensors alike."""
    return largest / float(KERNEL_HIGH)


def activation_scale(low: float, high: float) -> float:
    """The step that divides [low, high] into 255."""
    return (high - low) / float(STEPS)


def zero_level(low: float, scale: float, rounding: Callable) -> Any:
    """Steps from the lowest integer to zero, which must be a whole number (Jacob et al. 2018, section 3).

    It may be under 0 or over 255 where the range does not hold zero.
    """
    return rounding(-low / scale)


def ends(dtype: str) -> tuple[int, int]:
    """Lowest and highest integer of "int8" or "uint8"."""
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


@dataclasses.dataclass(frozen=True)
class Grid:
    """The int8 grid of an activation; values are kept as integer − zero point.

    Attributes:
      scale: float32, as in the file.
      low, high: smallest and largest value, relative to the zero point.
    """

    scale: np.float32
    low: int
    high: int

    @classmethod
    def of_range(cls, low: float, high: float) -> "Grid":
        """The grid of a range of positive width, nudged so that zero lies on it."""
        scale = activation_scale(low, high)
        # Half up, as `FakeQuantWithMinMaxVars` nudges its range, and so the converter.
        zero = int(np.clip(zero_level(low, scale, half_up), 0, STEPS))
        return cls(np.float32(scale), -zero, STEPS - zero)

    def integers(self, values: np.ndarray) -> np.ndarray:
        """The nearest integers of real numbers, not clipped, so that a value out of range shows."""
        return to_even(values / self.scale)


def pixels_as(pixels: np.ndarray, dtype: str) -> np.ndarray:
    """What an integer input of `dtype` takes for uint8 `pixels`: themselves, or for int8 − 128."""
    shift = INPUT_ZERO_POINTS["uint8"] - INPUT_ZERO_POINTS[dtype]
    # int16 on the way, since uint8 would wrap around below 128.
    return (pixels.astype(np.int16) - shift).astype(dtype)
