"""A made-up table on which one candidate costs many times another, a loss, and a search on both."""

from typing import NamedTuple

import numpy as np

from benchmarks.synthetic_loss import search

# 3_3, 3_5, 3_7, 6_3, 6_5, 6_7, Z: relative to 3_3, by work
_WORK = np.array([1.0, 1.25, 1.5, 1.9, 2.35, 2.9, 0.0])
_LARGE_KERNELS = (2, 5)
_FIXED = 0.5


class Case(NamedTuple):
    """A table with a target, and the loss that each candidate adds.

    Attributes:
      latency: a `Resource`; the target is its limit.
      offered, quality: [blocks, candidates].
    """

    latency: object
    offered: np.ndarray
    quality: np.ndarray


class End(NamedTuple):
    """Where a search ended, relative to the target.

    Attributes:
      expected, derived: latency.
      highest: of what was offered.
      regret: loss of the derived network above the best one within the budget's last 5 %, in
        standard deviations of the loss of random networks.
    """

    expected: float
    derived: float
    highest: float
    regret: float


def make_case(skew: float, share: float, seed: int, blocks: int = 9) -> Case | None:
    """None where the target is within 15 % of the fastest network, or out of its reach."""
    from nas_tf.search.objective import Resource

    rng = np.random.default_rng(seed)
    work = np.exp(rng.normal(0, 0.4, (blocks, 1))) * _WORK * np.exp(rng.normal(0, 0.03, (blocks, 7)))
    offered = np.ones(work.shape, bool)
    offered[::3, 6] = False
    factor = np.ones(work.shape)
    factor[:, _LARGE_KERNELS] = skew / 1.5 * np.exp(rng.normal(0, 0.3, (blocks, 2)))
    costs = np.where(offered, work * factor, 0.0)
    uniform = _FIXED + (costs.sum(axis=1) / offered.sum(axis=1)).sum()
    latency = Resource("latency_ms", costs, _FIXED, share * uniform)
    if latency.limit < 1.15 * latency.range(offered)[0]:
        return None
    quality = 0.03 * (0.5 * rng.normal(size=costs.shape) - np.log1p(5 * work))
    return Case(latency, offered, np.where(offered, quality, 0.0))


def searched(
    case: Case,
    seed: int,
    form: str = "projected",
    least_share: float = 0.95,
    drop: bool = True,
    steps: int = 350,
    rate: float = 0.05,
    noise: float = 0.1,
    mode: str = "full",
) -> End:
    """One search from uniform alpha."""
    from nas_tf.search import gates
    from nas_tf.search.architecture_parameters import ArchitectureParameters
    from nas_tf.search.derivation import most_probable_using
    from nas_tf.search.dropping import affordable
    from nas_tf.search.objective import Objective

    latency, offered = case.latency, case.offered
    if drop:
        offered = affordable([latency], offered)
    parameters = ArchitectureParameters(offered, rate, seed)
    rng = np.random.default_rng(seed)
    search(parameters, Objective(form, [latency]), case.quality, steps, rng, noise, mode)
    log_p = gates.log_probabilities(parameters.values())
    (choice,) = most_probable_using(log_p, [latency], least_share)
    (best,) = most_probable_using(np.where(offered, -case.quality, -np.inf), [latency], 0.95)
    blocks = np.arange(len(offered))
    spread = np.sqrt(sum(row[has].var() for row, has in zip(case.quality, offered, strict=True)))
    return End(
        latency.expected(parameters.probabilities()) / latency.limit,
        latency.of(choice) / latency.limit,
        latency.range(offered)[1] / latency.limit,
        float((case.quality[blocks, choice] - case.quality[blocks, best]).sum() / spread),
    )
