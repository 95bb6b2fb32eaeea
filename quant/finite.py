"""Refuses to go on with numbers that are not finite."""

import math

import numpy as np
import tf_keras as keras

from nas_tf.errors import require
from quant.quantizer_list import activation_ranges, kernel_ranges


def require_finite(values: dict[str, float], step: int, advice: str) -> None:
    """Raises `UserError` if a value is not finite.

    Args:
      values: what it is, in words → the number.
      step: how many steps were done.
      advice: what to change, as the end of a sentence.
    """
    wrong = {name: value for name, value in values.items() if not math.isfinite(value)}
    if wrong:
        name, value = next(iter(wrong.items()))
        more = f" (and {len(wrong) - 1} more values)" if len(wrong) > 1 else ""
        require(False, f"After step {step}, {name} is {value}{more}, so it was not saved; {advice}.")


def state_of(model: keras.Model) -> dict[str, float]:
    """A number for each range, kernel and bias of a fake-quantized model: one that is not finite
    if there is one, else 0."""
    state = {}
    for entry in activation_ranges(model):
        state[f"the range of {entry.source!r}"] = _worst(np.array(entry.value))
    for kernel in kernel_ranges(model):
        state[f"the int8 step of {kernel.source!r}"] = _worst(kernel.scales)
        state[f"the kernel of {kernel.source!r}"] = _worst(kernel.kernel.numpy())
        if kernel.bias is not None:
            state[f"the bias of {kernel.source!r}"] = _worst(kernel.bias.numpy())
    return state


def _worst(values: np.ndarray) -> float:
    wrong = values[~np.isfinite(values)]
    return float(wrong[0]) if wrong.size else 0.0
