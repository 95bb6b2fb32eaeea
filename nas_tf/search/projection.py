"""Alpha moved to where the expected cost is the target, and no further than that takes."""

from collections.abc import Callable

import numpy as np

from nas_tf.search import gates
from nas_tf.search.architecture_parameters import ArchitectureParameters
from nas_tf.search.objective import Objective, Resource

_STEPS = 100  # halvings; float64 has 53 binary digits
_LARGEST = 1e9  # of ν; a target within rounding of the cheapest network asks for more


def settle(parameters: ArchitectureParameters, objective: Objective) -> None:
    """What follows each architecture step: of the form `projected`, alpha moves to the target."""
    if objective.form == "projected":
        parameters.assign(onto_target(parameters.values(), objective.resources[0]))


def onto_target(alpha: np.ndarray, resource: Resource) -> np.ndarray:
    """α − ν · cost / T with E[cost] = T under its softmax.

    Of all distributions with that expectation, its probabilities have the least Kullback-Leibler
    divergence from those of alpha (Csiszár, 1975: an exponential tilt), so that the odds of
    candidates of equal cost stay as they are. What is left of the probability of a far dearer
    candidate falls by far more than that of the others.

    Args:
      alpha: [blocks, candidates]; −inf for absent candidates.
      resource: T is its limit.

    Returns:
      Of the same shape; alpha itself where T is outside of what the candidates can cost.
    """
    low, high = resource.range(np.isfinite(alpha))
    if not low < resource.limit < high:
        return alpha
    # Less the block's cheapest: the softmax is the same, and the cheapest keeps its alpha.
    cheapest = np.where(np.isfinite(alpha), resource.costs, np.inf).min(axis=1, keepdims=True)
    relative = (resource.costs - cheapest) / abs(resource.limit)

    def tilted(slope: float) -> np.ndarray:
        return np.where(np.isfinite(alpha), alpha - slope * relative, -np.inf)

    def excess(slope: float) -> float:
        return resource.expected(gates.probabilities(tilted(slope))) - resource.limit

    # E falls with ν: dE/dν = −Var(cost) / T < 0.
    below, above = -_bound(lambda slope: excess(-slope) >= 0), _bound(lambda slope: excess(slope) <= 0)
    for _ in range(_STEPS):
        middle = (below + above) / 2
        below, above = (middle, above) if excess(middle) > 0 else (below, middle)
    return tilted(above)


def _bound(reached: Callable[[float], bool]) -> float:
    """The first power of two for which it is reached."""
    slope = 1.0
    while not reached(slope) and slope < _LARGEST:
        slope *= 2.0
    return slope
