"""Sets the ranges of a fake-quantized model from the activations of its float network.

tfmot lets ranges start at ±6 and creep by a moving average; a trained network then needs
thousands of steps to come back to its accuracy. Here they are right before the first step.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable

import numpy as np
import tensorflow as tf
import tf_keras as keras

from nas_tf.base.errors import UserError, require
from quant import int8
from quant.bias import make_room
from quant.finetune_config import RANGE_METHODS
from quant.quantizer_list import activation_ranges, kernel_ranges

_BINS = 2048
_MANY, _STRIDE = 1_000_000, 11


@dataclasses.dataclass
class Histogram:
    """How often each value of an activation occurred, in bins of equal width."""

    low: float
    high: float
    counts: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(_BINS))

    @property
    def centers(self) -> np.ndarray:
        """Middle of each bin."""
        width = (self.high - self.low) / _BINS
        return self.low + width * (np.arange(_BINS) + 0.5)

    def add(self, values: np.ndarray) -> None:
        """Counts the values, all within [low, high]."""
        scaled = (values.ravel() - self.low) * (_BINS / (self.high - self.low))
        # The cast rounds down, as nothing lies below `low`.
        bins = np.minimum(scaled.astype(np.int32), _BINS - 1)  # `high` itself: the last bin
        self.counts += np.bincount(bins, minlength=_BINS)


def calibrate(
    float_model: keras.Model,
    qat_model: keras.Model,
    batches: Iterable[np.ndarray],
    method: str = "minmax",
    percentile: float = 99.99,
) -> dict[str, tuple[float, float]]:
    """Sets every activation range and kernel range of `qat_model`.

    Args:
      float_model: the float network with the same layer names (second result of
        `quant.scheme.quantize`).
      qat_model: the fake-quantized network.
      batches: float32 network inputs [N,H,W,C]; iterated twice.
      method: "minmax"; "percentile" of the values on either side; or "mse", the range of
        least squared error over the histogram.
      percentile: share of values kept on either side, in percent, for "percentile".

    Returns:
      Layer name → (minimum, maximum) of the activation ranges that were set.
    """
    require(method in RANGE_METHODS, f"Unknown range method {method!r}; allowed: {', '.join(RANGE_METHODS)}.")
    # The input's range is fixed: all pixel values, whatever the images.
    open_ranges = [r for r in activation_ranges(qat_model) if r.fixed is None]
    names = [r.source for r in open_ranges]
    # On the float network, since unset ranges turn the fake-quantized one's tensors to zeros.
    observe = _observer(float_model, names)
    # Limits first, in a pass of their own: bins of equal width need both ends.
    limits = _limits(observe, names, batches)
    histograms = {}
    if method != "minmax":
        histograms = _histograms(observe, limits, batches)
    for entry in open_ranges:
        low, high = limits[entry.source]
        if low == high == 0.0:
            pass  # a dead layer has no range; the histogram's would be that of its bins
        elif method == "percentile":
            low, high = percentile_range(histograms[entry.source], percentile)
        elif method == "mse":
            low, high = mse_range(histograms[entry.source])
        entry.assign(low, high)
    for kernel in kernel_ranges(qat_model):
        kernel.fit()
    # Last, since a kernel's least step depends on the ranges before and behind it.
    make_room(qat_model)
    return {entry.source: entry.value for entry in open_ranges}


def percentile_range(histogram: Histogram, percentile: float) -> tuple[float, float]:
    """The range that leaves out (100 − percentile) % of the values on either side."""
    cumulative = np.cumsum(histogram.counts) / histogram.counts.sum()
    outside = 1.0 - percentile / 100.0
    low = histogram.centers[np.searchsorted(cumulative, outside)]
    high = histogram.centers[min(np.searchsorted(cumulative, 1.0 - outside), _BINS - 1)]
    # Zero must lie inside, for it has to be an integer of the grid (Jacob et al. 2018).
    return min(float(low), 0.0), max(float(high), 0.0)


def mse_range(histogram: Histogram, candidates: int = 40) -> tuple[float, float]:
    """The range of least expected squared quantization error over the histogram.

    Each end is shrunk in turn, twice, through `candidates` fractions of its extreme.
    """
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    fractions = np.linspace(0.3, 1.0, candidates)
    best_low, best_high = low, high
    # The best place of one end depends on the other: the step is their distance over 255.
    for _ in range(2):
        best_high = min(
            (f * high for f in fractions), key=lambda end: quantization_error(histogram, best_low, end)
        )
        best_low = min(
            (f * low for f in fractions), key=lambda end: quantization_error(histogram, end, best_high)
        )
    return best_low, best_high


def quantization_error(histogram: Histogram, low: float, high: float) -> float:
    """Mean squared error of rounding the histogram's values to 256 levels on [low, high]."""
    if high <= low:
        return np.inf
    scale = int8.activation_scale(low, high)
    # The grid is shifted so that zero lies on it, as int8 kernels need.
    shift = int8.zero_level(low, scale, int8.to_even)
    level = np.clip(int8.to_even(histogram.centers / scale + shift), 0, int8.STEPS)
    error = histogram.centers - (level - shift) * scale
    return float(np.dot(histogram.counts, error**2) / histogram.counts.sum())


def _observer(model: keras.Model, names: list[str]):
    outputs = {name: model.get_layer(name).output for name in names}
    return tf.function(keras.Model(model.input, outputs))


def _limits(observe, names: list[str], batches) -> dict[str, tuple[float, float]]:
    limits = dict.fromkeys(names, (np.inf, -np.inf))
    for batch in batches:
        # On some processors a ReLU makes 0 of what is no number, and nothing behind it shows it.
        require(
            bool(np.isfinite(batch).all()),
            "The calibration images hold values that are no numbers; calibration needs finite ones.",
        )
        for name, values in observe(tf.convert_to_tensor(batch)).items():
            low, high = limits[name]
            least, most = float(tf.reduce_min(values)), float(tf.reduce_max(values))
            if not bool(tf.reduce_all(tf.math.is_finite(values))):
                # On some processors the least and the largest of values leave out those that are none.
                least = most = math.nan
            # NumPy's: Python's `min` keeps or loses a nan by the order of its arguments.
            limits[name] = (float(np.minimum(low, least)), float(np.maximum(high, most)))
    for name, (low, high) in limits.items():
        if not np.isfinite([low, high]).all():
            raise UserError(
                f"The float activations of {name!r} range over [{low}, {high}]; calibration needs "
                "at least one image and a network without infinities."
            )
    return limits


def _histograms(observe, limits, batches) -> dict[str, Histogram]:
    # A tensor that is the same everywhere needs bins of some width too.
    histograms = {name: Histogram(low, max(high, low + 1e-9)) for name, (low, high) in limits.items()}
    for batch in batches:
        for name, values in observe(tf.convert_to_tensor(batch)).items():
            flat = values.numpy().ravel()
            step = _coprime_step(values.shape[-1]) if flat.size > _MANY else 1
            histograms[name].add(flat[::step])
    return histograms


def _coprime_step(channels: int) -> int:
    """A step that meets every channel alike: with a common divisor it would skip some altogether."""
    return next(step for step in itertools.count(_STRIDE) if math.gcd(step, channels) == 1)
