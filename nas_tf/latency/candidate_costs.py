"""What the candidates of a space cost, as arrays [blocks, candidates]."""

from collections.abc import Callable

import numpy as np

from nas_tf.space.layer_spec import LayerSpec
from nas_tf.space.search_space import SearchSpace


def offered_candidates(space: SearchSpace) -> np.ndarray:
    """bool [blocks, candidates], True where the block has the candidate; ragged rows end early."""
    counts = list(map(len, space.block_candidates()))
    return np.arange(max(counts)) < np.array(counts)[:, None]


def candidate_costs(
    space: SearchSpace, resolution: int, num_classes: int, cost: Callable[[LayerSpec], float]
) -> tuple[np.ndarray, float]:
    """(costs [blocks, candidates], 0 for absent candidates; sum over all that is not searched)."""
    costs = np.zeros(offered_candidates(space).shape)
    for b, choice in enumerate(space.choices(resolution)):
        costs[b, : len(choice.specs)] = [cost(spec) for spec in choice.specs]
    fixed = (*space.fixed_before(resolution), *space.fixed_after(resolution, num_classes))
    return costs, sum(map(cost, fixed))
