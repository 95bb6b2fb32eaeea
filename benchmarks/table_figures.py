"""What the benchmarks of latency tables compute."""

import numpy as np

from nas_tf.latency.candidate_costs import offered_candidates
from nas_tf.latency.keys import parse_key
from nas_tf.latency.table import LatencyTable
from nas_tf.search.config import Budget
from nas_tf.search.derivation import most_probable
from nas_tf.search.problem import make_resources
from nas_tf.space.architecture import Architecture
from nas_tf.space.layer_spec import LayerSpec
from nas_tf.space.search_space import find_space


def most_macs(table: LatencyTable, limit_ms: float) -> Architecture:
    """The network of the table's space with the most multiply-adds within a predicted latency."""
    own = table.identity
    space = find_space(own.space).scaled(own.width_multiplier)
    budget = Budget(limit_ms, macs=1)
    time_ms, macs = make_resources(space, own.resolution, own.num_classes, table, budget)
    gain = np.where(offered_candidates(space), macs.costs / macs.costs.max(), -np.inf)
    (choice,) = most_probable(gain, [time_ms])
    specs = (c.specs[k] for c, k in zip(space.choices(own.resolution), choice, strict=True))
    return space.architecture(tuple(spec.operation for spec in specs), f"most_macs_{own.space}")


def kind(spec: LayerSpec) -> str:
    """What a person looks for: the largest depthwise kernel, or that there is none."""
    kernels = [c.kernel for c in spec.convolutions if c.depthwise]
    return f"depthwise {max(kernels)}×{max(kernels)}" if kernels else "no depthwise"


def ratios(first: LatencyTable, second: LatencyTable) -> dict[str, np.ndarray]:
    """Kind of layer → times of the second table over those of the first, for the keys of both."""
    found: dict[str, list[float]] = {}
    for key in first.entries.keys() & second.entries.keys():
        ratio = second.entries[key].median_ms / first.entries[key].median_ms
        found.setdefault(kind(parse_key(key)), []).append(ratio)
    return {name: np.array(found[name]) for name in sorted(found)}
