"""The correction that makes sums of a table's entries agree with whole networks."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from nas_tf.base.errors import require
from nas_tf.latency.entries import Correction
from nas_tf.latency.table import LatencyTable
from nas_tf.latency.whole_networks import Measured

_Fit = Callable[[np.ndarray, np.ndarray], tuple[float, float]]

# Of fewer, one disturbed network would move the median.
_LEAST = 3
# Of fewer, a line through two of them follows the noise.
_LEAST_FOR_INTERCEPT = 8
# Within these factors of the fastest one, sums hardly tell a factor from an intercept.
_LEAST_RANGE = 1.2


def fit_correction(table: LatencyTable, networks: Sequence[Measured]) -> Correction:
    """The factor on all entries, and the intercept where one helps, that make them sum to these networks.

        measured − baseline ≈ scale · Σ entries + intercept

    Larger networks leave the caches more often than their layers do alone, so the time over the sum grows
    with it. Around a budget a straight line says that well; an intercept is used where it predicts each
    network from all others with a lower mean error than a factor alone does.

    Raises:
      UserError: fewer than three networks.
    """
    require(len(networks) >= _LEAST, f"A correction needs {_LEAST} networks or more, not {len(networks)}.")
    own = table.identity
    # From the entries as they were measured: a new correction is not built upon an older one.
    plain = dataclasses.replace(table, correction=Correction())
    sums = (
        np.array([plain.predict_ms(n.architecture, own.resolution, own.num_classes) for n in networks])
        - plain.baseline_ms
    )
    measured = np.array([network.median_ms for network in networks]) - plain.baseline_ms
    scale, intercept_ms = _fitted(sums, measured)
    return Correction(
        scale,
        intercept_ms,
        len(networks),
        tuple(network.architecture.to_string() for network in networks),
        tuple(network.median_ms for network in networks),
    )


def _fitted(sums: np.ndarray, measured: np.ndarray) -> tuple[float, float]:
    """(scale, intercept) of whichever form predicts better what it was not fitted on."""
    if len(sums) < _LEAST_FOR_INTERCEPT or sums.max() < _LEAST_RANGE * sums.min():
        return _factor(sums, measured)
    forms = (_factor, _line)
    return min(forms, key=lambda fit: _left_out_error(fit, sums, measured))(sums, measured)


def _left_out_error(fit: _Fit, sums: np.ndarray, measured: np.ndarray) -> float:
    """Mean relative error on each network of what is fitted on all others."""
    errors = []
    for left_out in range(len(sums)):
        others = np.arange(len(sums)) != left_out
        scale, intercept = fit(sums[others], measured[others])
        errors.append(abs((scale * sums[left_out] + intercept) / measured[left_out] - 1))
    return float(np.mean(errors))


def _factor(sums: np.ndarray, measured: np.ndarray) -> tuple[float, float]:
    """The median of measured over sum, so that a disturbed network does not count."""
    return float(np.median(measured / sums)), 0.0


def _line(sums: np.ndarray, measured: np.ndarray) -> tuple[float, float]:
    """The line of the least absolute relative errors, which one disturbed network does not move either.

        min over (scale, intercept) of Σ |(scale · sum + intercept) / measured − 1|

    As a linear program's, its minimum lies at a corner: some such line runs through two of the networks.
    """
    first, second = np.triu_indices(len(sums), 1)
    apart = sums[first] != sums[second]
    first, second = first[apart], second[apart]
    scales = (measured[second] - measured[first]) / (sums[second] - sums[first])
    intercepts = measured[first] - scales * sums[first]
    errors = np.abs((scales[:, None] * sums + intercepts[:, None]) / measured - 1).sum(axis=1)
    best = int(errors.argmin())
    return float(scales[best]), float(intercepts[best])
