"""Candidates that no network within the limits can have, found exactly."""

from collections.abc import Sequence

import numpy as np

from nas_tf.base.errors import UserError
from nas_tf.search.derivation import most_probable
from nas_tf.search.objective import Resource
from nas_tf.space.search_space import Choice

# Relative to a limit, far above the rounding of sums: a network at the very limit stays, however its
# costs are added up.
_ROUNDING = 1e-9


def affordable(resources: Sequence[Resource], offered: np.ndarray) -> np.ndarray:
    """bool [blocks, candidates], True where some network within all limits has the candidate.

    Args:
      resources: with their limits.
      offered: bool [blocks, candidates], the candidates that there are.

    Raises:
      UserError: no network is within all limits.
    """
    left = _by_cheapest(resources, offered)
    # A single limit is met where the cheapest of all other blocks is met. With several, the cheapest for
    # one may be too dear for another, and only a network that meets all of them proves it.
    return left if len(resources) == 1 else _by_proof(resources, left)


def _by_cheapest(resources: Sequence[Resource], offered: np.ndarray) -> np.ndarray:
    """What is left when every other block has its cheapest candidate, limit for limit."""
    left = offered
    while True:
        kept = left.copy()
        for resource in resources:
            cheapest = np.where(left, resource.costs, np.inf).min(axis=1)
            if not np.isfinite(cheapest).all():
                raise UserError("No network of the search space is within all limits of the budget.")
            others = resource.fixed + cheapest.sum() - cheapest
            kept &= others[:, None] + resource.costs <= resource.limit + _ROUNDING * abs(resource.limit)
        if np.array_equal(kept, left):
            return kept
        # What one limit drops may have been the cheapest of another.
        left = kept


def _by_proof(resources: Sequence[Resource], left: np.ndarray) -> np.ndarray:
    """Those of `left` that a network within all limits is found for."""
    blocks = np.arange(len(left))
    proven = np.zeros_like(left)
    for b, k in np.argwhere(left):
        if proven[b, k]:
            continue
        only = left.copy()
        only[b] = np.arange(left.shape[1]) == k
        # A candidate not proven yet counts for more, so that one network proves many.
        gain = np.where(proven, -1.0, 0.0)
        try:
            (choice,) = most_probable(np.where(only, gain, -np.inf), resources)
        except UserError:
            continue
        proven[blocks, choice] = True
    return proven


def in_words(choices: Sequence[Choice], dropped: np.ndarray) -> str:
    """`6_7 in blocks 0-8; 3_7 in blocks 0-4, 6`, blocks counted from 0; empty where none is."""
    blocks: dict[str, list[int]] = {}
    for b, k in np.argwhere(dropped):
        blocks.setdefault(choices[b].specs[k].operation.name, []).append(int(b))
    return "; ".join(
        f"{name} in block{'s' if len(numbers) > 1 else ''} {_ranges(numbers)}"
        for name, numbers in sorted(blocks.items(), key=lambda item: -len(item[1]))
    )


def _ranges(numbers: Sequence[int]) -> str:
    """`0-4, 6` of ascending numbers."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
