"""Which networks a search is compared with: random ones of its budget, and published ones scaled to it."""

import dataclasses

import numpy as np

from nas_tf.base.errors import require
from nas_tf.latency.candidate_costs import candidate_costs, offered_candidates
from nas_tf.latency.table import LatencyTable
from nas_tf.space.architecture import Architecture
from nas_tf.space.published import PUBLISHED
from nas_tf.space.search_space import SearchSpace

_DRAWS = 100_000  # at a time
_MOST_DRAWS = 50_000_000


@dataclasses.dataclass(frozen=True)
class Network:
    """One network of the comparison.

    Attributes:
      name: also its folder's.
      group: what it is compared as.
      architecture: short string.
      resolution: side of its input in pixels.
      seeds: of its trainings.
    """

    name: str
    group: str
    architecture: str
    resolution: int
    seeds: tuple[int, ...]


def random_within(
    space: SearchSpace, table: LatencyTable, low_ms: float, high_ms: float, count: int, seed: int
) -> list[Architecture]:
    """Different networks whose predicted latency lies within the two, all such networks equally probable.

    By rejection: candidates are drawn with equal probabilities, and a network is kept if it lies within.
    """
    own, rng = table.identity, np.random.default_rng(seed)
    costs, fixed = candidate_costs(space, own.resolution, own.num_classes, table.cost_ms)
    offered, choices = offered_candidates(space), space.choices(own.resolution)
    found: dict[Architecture, None] = {}
    for _ in range(_MOST_DRAWS // _DRAWS):
        picked = np.stack([rng.choice(row.nonzero()[0], _DRAWS) for row in offered])
        latency = table.intercept_ms + fixed + np.take_along_axis(costs, picked, axis=1).sum(axis=0)
        for index in np.flatnonzero((low_ms <= latency) & (latency <= high_ms)):
            operations = (c.operations[k] for c, k in zip(choices, picked[:, index], strict=True))
            found[space.architecture(tuple(operations))] = None
            if len(found) == count:
                return list(found)
    require(
        False,
        f"Of {_MOST_DRAWS:,} random networks of {space.name!r} only {len(found)} take {low_ms:.4g} to "
        f"{high_ms:.4g} ms; choose another --target_latency_ms.",
    )
    return list(found)


def scaled_versions(name: str, least: float = 0.1, most: float = 1.5, step: float = 0.05) -> dict:
    """Width multiplier → published network of that width, each different network once."""
    found: dict[float, Architecture] = {}
    for multiplier in np.arange(least, most + step / 2, step).round(4).tolist():
        network = PUBLISHED[name].scaled(multiplier)
        if network not in found.values():
            found[multiplier] = network
    return found


def widest_within(times_ms: dict[float, float], limit_ms: float) -> float:
    """The largest width multiplier whose measured time is at most the limit."""
    fitting = [width for width, time_ms in times_ms.items() if time_ms <= limit_ms]
    require(
        bool(fitting),
        f"Even the narrowest version takes {min(times_ms.values()):.4g} ms, more than {limit_ms:.4g}.",
    )
    return max(fitting)
