"""Probabilities of candidates moved to where the expected cost is a given one."""

from collections.abc import Callable

import numpy as np

_STEPS = 100  # halvings; float64 has 53 binary digits
_LARGEST = 1e9  # of ν; a target within rounding of the cheapest network asks for more


def softmax(logits: np.ndarray) -> np.ndarray:
    """Of each row; −inf gives 0."""
    # Less the largest of the row, so that exp does not overflow; the shares are the same.
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def tilted(logits: np.ndarray, costs: np.ndarray, target: float) -> np.ndarray:
    """logits − ν · cost, with ν such that Σ softmax · cost is the target.

    Of all distributions with that expectation, these probabilities have the least Kullback-Leibler
    divergence from those of `logits` (Csiszár, 1975: an exponential tilt), so that the odds of
    candidates of equal cost stay as they are, and a far dearer one falls by far more than the others.

    Args:
      logits, costs: [blocks, candidates]; logits are −inf for absent candidates.
      target: Σ over blocks, in the unit of the costs.

    Returns:
      [blocks, candidates]; `logits` itself where the target is outside of what candidates can cost.
    """
    present = np.isfinite(logits)
    low = np.where(present, costs, np.inf).min(axis=1, keepdims=True)
    high = np.where(present, costs, -np.inf).max(axis=1, keepdims=True)
    room = target - low.sum()
    if not 0 < room < (high - low).sum():
        return logits
    # Less the block's cheapest: the softmax is the same, and the cheapest keeps its logit. In units of
    # what may be spent above it, so that ν has no unit.
    above_cheapest = np.where(present, costs - low, 0.0) / room

    def moved(slope: float) -> np.ndarray:
        return np.where(present, logits - slope * above_cheapest, -np.inf)

    def excess(slope: float) -> float:
        return float((softmax(moved(slope)) * above_cheapest).sum()) - 1.0

    # The expectation falls with ν: dE/dν = −Var(cost) < 0.
    below, above = -_bound(lambda slope: excess(-slope) >= 0), _bound(lambda slope: excess(slope) <= 0)
    for _ in range(_STEPS):
        middle = (below + above) / 2
        below, above = (middle, above) if excess(middle) > 0 else (below, middle)
    return moved(above)


def _bound(reached: Callable[[float], bool]) -> float:
    """The first power of two for which it is reached."""
    slope = 1.0
    while not reached(slope) and slope < _LARGEST:
        slope *= 2.0
    return slope
