"""Puts weights on the grid of the int8 kernels, so that simulation and file hold the same numbers.

The grid's steps are the kernel ranges' of the fake-quantized model, which simulation, training,
audit and converter all read; so a channel that needs a wider one gets it there (`make_room`).

A kernel adds its bias to the int32 accumulator, whose step is s_in · s_kernel. The fake-quant
graph adds it in float; the difference, up to half such a step, is enough to turn about one
output in a thousand to the neighbouring int8 value, and later layers spread it.
"""

import numpy as np
import tensorflow as tf
import tf_keras as keras

from nas_tf.base.errors import require
from quant import int8
from quant.accumulator import MOST, steps_needed
from quant.quantizer_list import KernelRange, feeding_range, following_range, kernel_ranges


def least_scales(model: keras.Model, kernel: KernelRange) -> np.ndarray:
    """`steps_needed` of a kernel, [channels], by the ranges before and behind it."""
    biases = np.zeros(1) if kernel.bias is None else kernel.bias.numpy()
    return steps_needed(
        biases, feeding_range(model, kernel.layer).scale, following_range(model, kernel.layer).scale
    )


def make_room(model: keras.Model) -> None:
    """Raises kernel steps to their least; all activation ranges are set."""
    for kernel in kernel_ranges(model):
        kernel.raise_to(least_scales(model, kernel))


def require_biases_fit(model: keras.Model) -> None:
    """Refuses a network with a bias that 32 bits do not hold, for the file would clip it."""
    for kernel in kernel_ranges(model):
        if kernel.bias is None:
            continue
        step = feeding_range(model, kernel.layer).scale * kernel.scales
        steps = np.abs(kernel.bias.numpy().astype(np.float64)) / step
        # NaN is neither more nor less than anything, so the comparison below would not see it.
        worst = float(np.max(np.where(np.isnan(steps), np.inf, steps)))
        require(
            worst <= MOST,
            f"The bias of {kernel.source!r} takes {worst:.3g} steps of the int8 kernel's "
            f"accumulator, which holds {MOST:.0f} at most, so the file would be wrong; make "
            "the model again with this version's quant.finetune.",
        )


def round_to_grid(model: keras.Model) -> float:
    """Makes room for every bias, and rounds kernels and biases to their integer grid.

    Args:
      model: all of its activation ranges are final; kernels and biases change, and the ranges of
        kernels whose bias would not fit.

    Raises:
      UserError: a bias is not finite.

    Returns:
      The largest change of a bias, in steps of the accumulator (at most 0.5).
    """
    # Room first: it widens steps, and so moves the grid that everything is rounded to.
    make_room(model)
    largest = put_on_grid(model)
    # With room made, only a bias that is not finite is refused here.
    require_biases_fit(model)
    return largest


def put_on_grid(model: keras.Model) -> float:
    """Rounds every kernel and bias to the grid of the ranges as they are.

    A kernel that lies halfway between two integers could else be rounded either way by the
    simulation and by the converter. What is on its grid stays to the bit.

    Returns:
      The largest change of a bias, in steps of the accumulator (at most 0.5).
    """
    largest = 0.0
    for kernel in kernel_ranges(model):
        kernel.kernel.assign(_on_grid(kernel))
        if kernel.bias is not None:
            largest = max(
                largest, _round_bias(kernel.bias, feeding_range(model, kernel.layer).scale * kernel.scales)
            )
    return largest


def _on_grid(kernel: KernelRange) -> np.ndarray:
    scales = kernel.against_kernel(kernel.scales)
    values = kernel.kernel.numpy().astype(np.float64)
    steps = np.divide(values, scales, out=np.zeros_like(values), where=scales > 0)
    # Half up, as the converter rounds kernels: a weight exactly between two integers goes its way.
    return (int8.kernel_integers(steps, int8.half_up) * scales).astype(np.float32)


def _round_bias(bias: tf.Variable, step: np.ndarray) -> float:
    """Rounds `bias` to multiples of `step` = s_in · s_kernel; returns the largest change."""
    values = bias.numpy().astype(np.float64)
    # The layer's input range is unset where the step is 0; without a grid the bias stays as it is.
    step = np.where(step > 0, step, np.inf)
    # b' = round(b / (s_in · s_kernel)) · (s_in · s_kernel)
    rounded = np.where(np.isfinite(step), int8.to_even(values / step) * step, values)
    bias.assign(rounded.astype(np.float32))
    return float(np.max(np.abs(rounded - values) / step, initial=0.0))
