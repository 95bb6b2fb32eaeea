"""Searches on tables in which one candidate costs up to a hundred times another.

    python -m benchmarks.skewed_tables
    python -m benchmarks.skewed_tables --latency_loss=constrained --min_budget_share=0 --nodrop

Made-up tables of blocks with the paper's candidates, 7×7 kernels `skew` times a 3×3 (XNNPACK has no
depthwise kernel for them: 15 to 100 times), and a synthetic loss that falls with a candidate's work
and not with its time. A target is a share of the expectation where all candidates are as likely.
"""

import numpy as np
from absl import app, flags

from benchmarks.skewed_case import Case, End, make_case, searched

SKEWS = (5.0, 20.0, 50.0, 100.0)
SHARES = (0.02, 0.05, 0.1, 0.2, 0.5)

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
