"""The correction that makes sums of a table's entries agree with whole networks.

Of three forms the one is used that predicts each network best from all others: a factor on all entries, a
straight line, or a factor on all and one for each layer (`nas_tf.latency.layer_factors`).
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from nas_tf.base.errors import require
from nas_tf.latency.entries import Correction
from nas_tf.latency.keys import parse_key
from nas_tf.latency.layer_factors import LayerFactors, Layers
from nas_tf.latency.table import LatencyTable
from nas_tf.latency.whole_networks import Measured
from nas_tf.space.layer_spec import LayerSpec

_Fit = Callable[[np.ndarray, np.ndarray], tuple[float, float]]

# Of fewer, one disturbed network would move the median.
_LEAST = 3
# Of fewer, a line through two of them follows the noise.
_LEAST_FOR_INTERCEPT = 8
# Of fewer, each layer is in too few of them.
_LEAST_FOR_LAYERS = 16
# Within these factors of the fastest one, sums hardly tell a factor from an intercept.
_LEAST_RANGE = 1.2


def fit_correction(table: LatencyTable, networks: Sequence[Measured]) -> Correction:
    """The correction that makes a table's entries sum to these networks.

        measured − baseline ≈ scale · Σ factor · entry + intercept

    Larger networks leave the caches more often than their layers do alone, so the time over the sum grows
    with it; around a budget a straight line says that well. What one kind of layer costs beside others is
    not what it costs alone; factors of layers say that. Each is used where it predicts each network from all
    others with a lower mean error than what is simpler does.

    Raises:
      UserError: fewer than three networks.
    """
    require(len(networks) >= _LEAST, f"A correction needs {_LEAST} networks or more, not {len(networks)}.")
    own = table.identity
    # From the entries as they were measured: a new correction is not built upon an older one.
    plain = dataclasses.replace(table, correction=Correction())
    measured = np.array([network.median_ms for network in networks]) - plain.baseline_ms
    layers = [_layers(plain, n.architecture.layers(own.resolution, own.num_classes)) for n in networks]
    sums = np.array([sum(network.costs_ms) for network in layers])
    scale, intercept_ms, factors = *_fitted(sums, measured), {}
    if _layers_help(layers, sums, measured):
        (scale, intercept_ms), model = _factor(sums, measured), _layer_factors(layers, sums, measured)
        factors = {key: model.factor(parse_key(key)) for key in table.entries}
    return Correction(
        scale,
        intercept_ms,
        len(networks),
        tuple(network.architecture.to_string() for network in networks),
        tuple(network.median_ms for network in networks),
        factors,
    )


def _layers(plain: LatencyTable, specs: Sequence[LayerSpec]) -> Layers:
    kept = [spec for spec in specs if spec.key is not None]
    return Layers(kept, [plain.cost_ms(spec) for spec in kept])


def _layers_help(layers: Sequence[Layers], sums: np.ndarray, measured: np.ndarray) -> bool:
    """Whether factors of layers predict left-out networks better than what is fitted without them."""
    if len(sums) < _LEAST_FOR_LAYERS:
        return False
    errors = []
    for left_out in range(len(sums)):
        others = np.arange(len(sums)) != left_out
        model = _layer_factors([*layers[:left_out], *layers[left_out + 1 :]], sums[others], measured[others])
        errors.append(abs(model.predict_ms(layers[left_out]) / measured[left_out] - 1))
    simpler = min(_left_out_error(fit, sums, measured) for fit in (_factor, _line))
    return float(np.mean(errors)) < simpler


def _layer_factors(layers: Sequence[Layers], sums: np.ndarray, measured: np.ndarray) -> LayerFactors:
    return LayerFactors(_factor(sums, measured)[0], layers, measured)


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
