"""Puts weights on the grid of the int8 kernels, so that simulation and file hold the same numbers.

A kernel adds its bias to the int32 accumulator, whose step is s_in · s_kernel. The fake-quant
graph adds it in float; the difference, up to half such a step, is enough to turn about one
output in a thousand to the neighbouring int8 value, and later layers spread it.
"""

import numpy as np
import tensorflow as tf
import tf_keras as keras

from quant.quantizer_list import KernelRange, feeding_range, kernel_ranges


def round_to_grid(model: keras.Model) -> float:
    """Rounds every kernel and bias of a fake-quantized model to its integer grid.

    A kernel that lies halfway between two integers could else be rounded either way by the
    simulation and by the converter.

    Args:
      model: all of its ranges are final; its kernels and biases change.

    Returns:
      The largest change of a bias, in steps of the accumulator (at most 0.5).
    """
    largest = 0.0
    for kernel in kernel_ranges(model):
        kernel.kernel.assign(_on_grid(kernel))
        if kernel.bias is not None:
            largest = max(largest, _round_bias(
                kernel.bias, feeding_range(model, kernel.layer).scale * kernel.scales))
    return largest


def _on_grid(kernel: KernelRange) -> np.ndarray:
    scales = kernel.scales
    scales = scales[:, np.newaxis] if kernel.channel_axis == 2 else scales
    values = kernel.kernel.numpy().astype(np.float64)
    integers = np.floor(np.divide(values, scales, out=np.zeros_like(values),
                                  where=scales > 0) + 0.5)
    return (np.clip(integers, -127, 127) * scales).astype(np.float32)


def _round_bias(bias: tf.Variable, step: np.ndarray) -> float:
    """Rounds `bias` to multiples of `step` = s_in · s_kernel; returns the largest change."""
    values = bias.numpy().astype(np.float64)
    step = np.where(step > 0, step, np.inf)
    rounded = np.where(np.isfinite(step), np.round(values / step) * step, values)
    bias.assign(rounded.astype(np.float32))
    return float(np.max(np.abs(rounded - values) / step, initial=0.0))
