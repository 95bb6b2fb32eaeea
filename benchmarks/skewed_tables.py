"""Searches on tables in which one candidate costs up to a hundred times another.

    python -m benchmarks.skewed_tables
    python -m benchmarks.skewed_tables --latency_loss=constrained --min_budget_share=0 --nodrop

Made-up tables of blocks with the paper's candidates, 7×7 kernels `skew` times a 3×3 (XNNPACK has no
depthwise kernel for them: 15 to 100 times), and a synthetic loss that falls with a candidate's work
and not with its time. A target is a share of the expectation where all candidates are as likely.
"""

from typing import NamedTuple

import numpy as np
from absl import app, flags

from benchmarks.synthetic_loss import search

SKEWS = (5.0, 20.0, 50.0, 100.0)
SHARES = (0.02, 0.05, 0.1, 0.2, 0.5)
# 3_3, 3_5, 3_7, 6_3, 6_5, 6_7, Z: relative to 3_3, by work
_WORK = np.array([1.0, 1.25, 1.5, 1.9, 2.35, 2.9, 0.0])
_LARGE_KERNELS = (2, 5)
_FIXED = 0.5

_SKEWS = flags.DEFINE_list("skews", list(map(str, SKEWS)), "How many times a 3x3 a 7x7 costs.")
_SHARES = flags.DEFINE_list("target_shares", list(map(str, SHARES)), "Of the uniform expectation.")
_BLOCKS = flags.DEFINE_integer("blocks", 9, "Blocks; every third has no ZeroOp.", lower_bound=1)
_SEEDS = flags.DEFINE_integer("seeds", 5, "Tables and losses a row.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 350, "Architecture steps of a search.")
_RATE = flags.DEFINE_float("alpha_learning_rate", 0.05, "Adam's rate for alpha.")
_NOISE = flags.DEFINE_float("noise", 0.1, "Standard deviation of a gate gradient.")
_MODE = flags.DEFINE_enum("gate_mode", "full", ["full", "two"], "Paths in an architecture step.")
_FORM = flags.DEFINE_enum("latency_loss", "projected", ["projected", "constrained"], "Objective.")
_SHARE = flags.DEFINE_float("min_budget_share", 0.95, "Least share of the budget that is used.")
_DROP = flags.DEFINE_bool("drop", True, "Whether candidates that fit no network are dropped.")


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


def main(_) -> None:
    """Prints a row for each skew and share of the target."""
    print(f"{'skew':>5}{'share':>7}{'tables':>8}{'worst E':>9}{'least derived':>15}{'mean':>7}{'regret':>8}")
    every: list[End] = []
    for skew in map(float, _SKEWS.value):
        for share in map(float, _SHARES.value):
            cases = [(seed, make_case(skew, share, seed, _BLOCKS.value)) for seed in range(_SEEDS.value)]
            ends = [_end(case, seed) for seed, case in cases if case]
            # Where every network that is left is within the budget, there is nothing to hold.
            ends = [end for end in ends if end.highest > 1]
            if ends:
                _print(f"{skew:5.0f}{share:7.2f}", ends)
            every += ends
    _print(f"{'all':<12}", every)


def _end(case: Case, seed: int) -> End:
    settings = (_FORM.value, _SHARE.value, _DROP.value, _STEPS.value, _RATE.value, _NOISE.value, _MODE.value)
    return searched(case, seed, *settings)


def _print(title: str, ends: list[End]) -> None:
    expected, derived, _, regret = np.array(ends).T
    print(
        f"{title}{len(ends):8}{np.abs(expected - 1).max():9.2%}{derived.min():15.3f}{derived.mean():7.3f}"
        f"{regret.mean():8.2f}",
        flush=True,
    )


if __name__ == "__main__":
    app.run(main)
