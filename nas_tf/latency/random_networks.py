"""Random networks of a space: any, or those whose predicted latency lies within a band."""

import dataclasses
import random
from collections.abc import Sequence

import numpy as np

from nas_tf.base.errors import require
from nas_tf.latency.candidate_costs import candidate_costs, offered_candidates
from nas_tf.latency.table import LatencyTable
from nas_tf.latency.tilting import softmax, tilted
from nas_tf.space.architecture import Architecture
from nas_tf.space.search_space import SearchSpace

_BUDGET_FACTOR = 2.0  # a band reaches from half of a budget to twice as much
_FASTEST_FACTOR = 4.0  # without a budget: from the fastest network to so many times its latency
_ATTEMPTS = 1000  # per network, before a band is said to hold too few


@dataclasses.dataclass(frozen=True)
class Band:
    """Latencies that networks are drawn within, in ms."""

    low_ms: float
    high_ms: float


@dataclasses.dataclass(frozen=True)
class _Costs:
    """Predicted costs of a space's candidates, [blocks, candidates] in ms; `fixed` of all else."""

    costs: np.ndarray
    offered: np.ndarray
    fixed: float


def random_architectures(
    space: SearchSpace, count: int, seed: int, other_than: Sequence[Architecture] = ()
) -> list[Architecture]:
    """`count` different architectures, every candidate of a block equally likely."""
    require(
        count + len(other_than) <= space.size(),
        f"The space {space.name!r} has {space.size()} architectures; {count} others than "
        f"{len(other_than)} were asked for.",
    )
    # Which candidates a block has is the same at every resolution.
    choices, chooser = space.choices(resolution=32), random.Random(seed)
    # As keys, since a list is searched from its beginning for each one that is drawn.
    found: dict[Architecture, None] = {}
    left_out = set(other_than)
    while len(found) < count:
        architecture = space.architecture(tuple(chooser.choice(c.operations) for c in choices))
        if architecture not in left_out:
            found[architecture] = None
    return list(found)


def reach_of(space: SearchSpace, table: LatencyTable) -> Band:
    """Of the space's fastest network to its slowest."""
    costs = _costs(space, table)
    low = costs.fixed + np.where(costs.offered, costs.costs, np.inf).min(axis=1).sum()
    high = costs.fixed + np.where(costs.offered, costs.costs, -np.inf).max(axis=1).sum()
    return Band(float(low), float(high))


def band_of(space: SearchSpace, table: LatencyTable, budget_ms: float = 0.0) -> Band:
    """Half of a budget to twice as much, or without one the fastest network to four times it."""
    reach = reach_of(space, table)
    low, high = reach.low_ms, reach.high_ms
    if not budget_ms:
        return Band(low, min(high, _FASTEST_FACTOR * low))
    require(
        low <= budget_ms * _BUDGET_FACTOR and budget_ms / _BUDGET_FACTOR <= high,
        f"No network of the space {space.name!r} takes half to twice {budget_ms:g} ms: they take "
        f"{low:.4g} to {high:.4g} ms by the latency table.",
    )
    return Band(max(low, budget_ms / _BUDGET_FACTOR), min(high, budget_ms * _BUDGET_FACTOR))


def architectures_within(
    space: SearchSpace,
    table: LatencyTable,
    band: Band,
    count: int,
    seed: int,
    other_than: Sequence[Architecture] = (),
) -> list[Architecture]:
    """Different architectures whose predicted latencies are spread evenly over the logarithm of a band.

    For each a latency is drawn, and candidates with the probabilities nearest to equal ones whose
    expected latency is that (`tilting`). Drawn with equal probabilities, networks of a space in which
    some candidates are 50 times as slow as others would all have some of those, and lie far above any
    budget.

    Returns:
      `count` of them; fewer where so many attempts found no others.
    """
    costs, rng = _costs(space, table), np.random.default_rng(seed)
    # Which candidates a block has is the same at every resolution.
    choices = space.choices(resolution=32)
    equal = np.where(costs.offered, 0.0, -np.inf)
    found: dict[Architecture, None] = {}
    for _ in range(_ATTEMPTS * count):
        if len(found) == count:
            break
        latency = np.exp(rng.uniform(np.log(band.low_ms), np.log(band.high_ms)))
        p = softmax(tilted(equal, costs.costs, latency - costs.fixed))
        drawn = [rng.choice(len(row), p=row) for row in p]
        predicted = costs.fixed + sum(row[k] for row, k in zip(costs.costs, drawn, strict=True))
        operations = tuple(choice.operations[k] for choice, k in zip(choices, drawn, strict=True))
        architecture = space.architecture(operations)
        if band.low_ms <= predicted <= band.high_ms and architecture not in other_than:
            found[architecture] = None
    return list(found)


def _costs(space: SearchSpace, table: LatencyTable) -> _Costs:
    own = table.identity
    costs, fixed = candidate_costs(space, own.resolution, own.num_classes, table.cost_ms)
    return _Costs(costs, offered_candidates(space), table.intercept_ms + fixed)
