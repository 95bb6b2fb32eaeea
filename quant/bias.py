"""Puts biases on the grid of the int8 kernels, so that simulation and file add the same number.

A kernel adds its bias to the int32 accumulator, whose step is s_in · s_kernel. The fake-quant
graph adds it in float; the difference, up to half such a step, is enough to turn about one
output in a thousand to the neighbouring int8 value, and later layers spread it.
"""

import numpy as np
import tf_keras as keras

from quant.quantizer_list import feeding_range, kernel_ranges


def round_biases(model: keras.Model) -> float:
    """Rounds every bias of a fake-quantized model to its int32 grid.

    Args:
      model: all of its ranges are final; its biases change.

    Returns:
      The largest change, in steps of the accumulator (at most 0.5).
    """
    largest = 0.0
    for kernel in kernel_ranges(model):
        if kernel.bias is None:
            continue
        # step = s_in · s_kernel, one a channel
        step = feeding_range(model, kernel.layer).scale * kernel.scales
        step = np.where(step > 0, step, np.inf)
        bias = kernel.bias.numpy().astype(np.float64)
        rounded = np.where(np.isfinite(step), np.round(bias / step) * step, bias)
        if bias.size:
            largest = max(largest, float(np.max(np.abs(rounded - bias) / step)))
        kernel.bias.assign(rounded.astype(np.float32))
    return largest
