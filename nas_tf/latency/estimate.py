"""Estimating a missing entry from the entries that a table has."""

import numpy as np

from nas_tf.base.errors import UserError
from nas_tf.latency.keys import parse_key
from nas_tf.space.layer_spec import LayerSpec

# More entries than the seven features that are fitted.
_MIN_ENTRIES = 8


class Estimator:
    """A roofline-like model fitted to a table's own entries.

        ms ≈ c₀ + Σ_j c_j · feature_j,   c ≥ 0

    with the features of `layer_features` (multiply-adds by kind, elements moved). It minimizes
    *relative* error, because entries of one table differ by two orders of magnitude.
    """

    def __init__(self, entries_ms: dict[str, float]):
        if len(entries_ms) < _MIN_ENTRIES:
            raise UserError(
                f"A table with {len(entries_ms)} entries is too small to estimate "
                f"missing ones from; {_MIN_ENTRIES} are needed."
            )
        features = np.stack([layer_features(parse_key(key)) for key in entries_ms])
        self.coefficients = fit_relative(features, np.fromiter(entries_ms.values(), float))

    def estimate_ms(self, spec: LayerSpec) -> float:
        """Estimated latency, uncorrected like the entries."""
        return float(layer_features(spec) @ self.coefficients)


def fit_relative(features: np.ndarray, target: np.ndarray) -> np.ndarray:
    """c ≥ 0, [n], that minimizes Σ (features · c / target − 1)²; features [m, n], target [m] > 0."""
    from scipy.optimize import nnls

    # Dividing each row by its target turns squared error into squared relative error.
    rows = features / target[:, None]
    # Columns of like size, since multiply-adds are millions where the constant is 1. A kind of
    # layer that no entry has is a column of zeros, hence the least scale.
    scales = np.maximum(np.abs(rows).max(axis=0), 1e-30)
    # No coefficient below 0, or more work would take less time.
    solution, _ = nnls(rows / scales, np.ones(len(target)))
    return solution / scales


def layer_features(spec: LayerSpec) -> np.ndarray:
    """What a layer's time is fitted on, [7].

    1; multiply-adds of dense convolutions; of depthwise ones with kernel 3, 5, 7; elements of activations
    read and written; weights.
    """
    by_kernel, moved, size = [0, 0, 0], 0, spec.input_size
    for convolution in spec.convolutions:
        # Apart by kernel, since a multiply-add does not cost the same in each: XNNPACK has fast
        # depthwise kernels for up to 25 taps, so a 7×7 takes a generic path.
        if convolution.depthwise:
            # Kernels of other sizes count as the nearest of these.
            nearest = min((3, 5, 7), key=lambda kernel: abs(kernel - convolution.kernel))
            by_kernel[(3, 5, 7).index(nearest)] += convolution.macs(size)
        moved += convolution.elements(size)
        size = convolution.output_size(size)
    # The classifier, which is the one layer that names no convolutions.
    if not spec.convolutions:
        moved = spec.input_size**2 * spec.input_width + spec.output_size**2 * spec.output_width
    return np.array([1, spec.macs - sum(by_kernel), *by_kernel, moved, spec.params], float)
