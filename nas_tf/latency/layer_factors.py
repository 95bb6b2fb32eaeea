"""What whole networks say of single layers: a factor for each entry of a table, near to 1."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from nas_tf.space.layer_spec import BlockSpec, LayerSpec

# What entries are taken to be off by in networks, and what is left of a network's own, both as shares.
_DEVIATION, _NOISE = 0.05, 0.01


class Layers(NamedTuple):
    """A network's layers and what each takes by the table, in ms."""

    specs: Sequence[LayerSpec]
    costs_ms: Sequence[float]


class LayerFactors:
    """Bayesian linear regression of networks' relative errors on what their layers have in common.

        measured_i = scale · Σ_e cost_ie · (1 + δ_e),   δ_e = Σ of w over the features of layer e
        1 − scale · Σ_e cost_ie / measured_i = X_i · w + ε,   w ~ N(0, 0.05² · c · I),   ε ~ N(0, 0.01²)

    A layer's features are itself, its place (sizes and widths), each property of its operation, and each
    property at its place. c makes the mean variance of X·w that of one deviation of all layers alike. So
    what is seen of few networks moves what many have in common, and each layer hardly.

    Args:
      scale: factor on all layers.
      networks: that were measured.
      measured_ms: of each, without the empty graph.
    """

    def __init__(self, scale: float, networks: Sequence[Layers], measured_ms: np.ndarray):
        names = sorted({name for n in networks for spec in n.specs for name in _features(spec)}, key=repr)
        self._places = {name: index for index, name in enumerate(names)}
        self._scale = scale
        design = np.stack([self._row(n) for n in networks]) / measured_ms[:, None]
        errors = 1 - scale * np.array([sum(n.costs_ms) for n in networks]) / measured_ms
        products = design @ design.T
        variance = _DEVIATION**2 / float(np.diag(products).mean())
        covariance = variance * products + _NOISE**2 * np.eye(len(errors))
        self._weights = variance * design.T @ np.linalg.solve(covariance, errors)

    def factor(self, spec: LayerSpec) -> float:
        """1 + δ of a layer, also of one that no network had."""
        known = (self._places[name] for name in _features(spec) if name in self._places)
        return 1 + float(self._weights[list(known)].sum())

    def predict_ms(self, network: Layers) -> float:
        """What a network takes without the empty graph."""
        factors = map(self.factor, network.specs)
        return self._scale * sum(f * c for f, c in zip(factors, network.costs_ms, strict=True))

    def _row(self, network: Layers) -> np.ndarray:
        total: dict[Hashable, float] = defaultdict(float)
        for spec, cost in zip(network.specs, network.costs_ms, strict=True):
            for name in _features(spec):
                total[name] += self._scale * cost
        return np.array([total[name] for name in self._places])


def _features(spec: LayerSpec) -> list[Hashable]:
    place = (type(spec).__name__, spec.input_size, spec.input_width, spec.output_width, spec.stride)
    shared = spec.operation.properties if isinstance(spec, BlockSpec) else ()
    return [spec.key, place, *shared, *((place, *each) for each in shared)]
