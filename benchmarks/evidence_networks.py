"""Which networks a search is compared with: random ones of its budget, and published ones scaled to it."""

import dataclasses

import numpy as np

from nas_tf.base.errors import require
from nas_tf.latency.candidate_costs import candidate_costs, offered_candidates
from nas_tf.latency.table import LatencyTable
from nas_tf.latency.tilting import softmax, tilted
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

    By rejection from candidates that are tilted towards the band by their cost, since of equally probable
    ones hardly any network may lie within: with p(network) = a · exp(−s · cost), a network of the band is
    kept with the least p there over its own.
    """
    own, rng = table.identity, np.random.default_rng(seed)
    costs, fixed = candidate_costs(space, own.resolution, own.num_classes, table.cost_ms)
    fixed += table.intercept_ms
    choices = space.choices(own.resolution)
    p, slope, keepable_ms = _towards(costs, offered_candidates(space), low_ms - fixed, high_ms - fixed)
    found: dict[Architecture, None] = {}
    for _ in range(_MOST_DRAWS // _DRAWS):
        picked = np.stack([rng.choice(len(row), _DRAWS, p=row) for row in p])
        above = np.take_along_axis(costs, picked, axis=1).sum(axis=0)
        within = (low_ms <= above + fixed) & (above + fixed <= high_ms)
        # min p / p = exp(s · (cost − cost of the least p))
        kept = within & (np.log(rng.random(_DRAWS)) <= slope * (above - keepable_ms))
        for index in np.flatnonzero(kept):
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


def _towards(
    costs: np.ndarray, offered: np.ndarray, low_ms: float, high_ms: float
) -> tuple[np.ndarray, float, float]:
    """Probabilities whose expected cost is nearest to equal ones', their slope s, the cost of the least p."""
    equal = np.where(offered, 0.0, -np.inf)
    expected = float((softmax(equal) * np.where(offered, costs, 0.0)).sum())
    p = softmax(tilted(equal, costs, float(np.clip(expected, low_ms, high_ms))))
    # log p = const − s · cost in each block, so any two candidates of unequal cost tell s.
    block = int(np.where(offered, costs, 0.0).std(axis=1).argmax())
    own, log_p = costs[block, offered[block]], np.log(p[block, offered[block]])
    slope = float(-np.polyfit(own, log_p, 1)[0])
    return p, slope, high_ms if slope > 0 else low_ms


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
