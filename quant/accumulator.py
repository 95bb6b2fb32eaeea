"""How wide an int8 kernel's step must be for its bias to fit the 32-bit accumulator."""

import numpy as np

# Accumulator steps of a channel's bias, and of an output step, at most: half of what 32 bits hold,
# for training and rounding still move biases. A bias beyond them would be clipped by the converter.
ROOM = 2.0**30
# What 32 bits hold, either sign.
MOST = 2.0**31 - 1
# A kernel step under so many of its least ones was set by bias or output and not by the weights.
NEARLY_LEAST = 2.0


def steps_needed(biases: np.ndarray, input_scale: float, output_scale: float) -> np.ndarray:
    """The smallest kernel steps with which biases and output step keep to `ROOM`, [channels].

    From |bias| / (s_in · s_kernel) ≤ ROOM and s_out / (s_in · s_kernel) ≤ ROOM; the second keeps
    the rescaling factor within what XNNPACK takes (over 2^-32), for a channel without weights too.
    Rounding weights to this step moves a sum of 1000 products by under a ten-thousandth of the
    bias or of an output step.

    Args:
      biases: real numbers, [channels] or [1].
      input_scale, output_scale: int8 steps of the layer's input and output.
    """
    # s_kernel ≥ max(|bias|, s_out) / (s_in · ROOM); the smallest float stands for an unset input's step of 0.
    largest = np.maximum(np.abs(biases.astype(np.float64)), output_scale)
    return largest / max(input_scale * ROOM, np.finfo(np.float32).tiny)
