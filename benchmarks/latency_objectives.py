"""Where E[latency] ends under each objective, and how much of the budget the network derived uses.

The loss is synthetic, over a real table's costs.

    python -m benchmarks.latency_objectives --latency_table=../shared/data/proxylessnas/mobile_trim.yaml
"""

import time

import numpy as np
from absl import app, flags

from benchmarks.synthetic_loss import random_quality, search
from flags import paths

_TABLE = paths.DEFINE_path("latency_table", None, "Table of the full space at 224.")
# By the published phone table, networks of the space take 29.6 to 191.0 ms, 114.0 where all are as likely.
_TARGETS = flags.DEFINE_list("targets_ms", ["50", "60", "80", "100", "120"], "Targets in ms.")
_SEEDS = flags.DEFINE_integer("seeds", 5, "Synthetic losses a target.")
_STEPS = flags.DEFINE_integer("steps", 1500, "Architecture steps of a search.")
# The paper's rate.
_RATE = flags.DEFINE_float("alpha_learning_rate", 0.006, "Adam's rate for alpha.")
_NOISE = flags.DEFINE_float("noise", 0.1, "Standard deviation of a gate gradient.")
_MODE = flags.DEFINE_enum("gate_mode", "full", ["full", "two"], "Paths in an architecture step.")
_FORMS = flags.DEFINE_multi_enum(
    "latency_loss",
    ["projected", "constrained", "mul_log", "add_linear"],
    ["projected", "constrained", "mul_log", "add_linear"],
    "Objectives to compare.",
)
_PAIRS = flags.DEFINE_integer("pairs", 1000, "Random (alpha, target) pairs for derivation.", lower_bound=0)


def _ends(form: str, target: float, seed: int) -> tuple[float, float]:
    """(E[latency], latency of the derived network) in ms at the end of one search."""
    from nas_tf.search import gates
    from nas_tf.search.architecture_parameters import ArchitectureParameters
    from nas_tf.search.derivation import most_probable
    from nas_tf.search.objective import Objective, reference_scale

    latency, offered = _latency(target)
    rng = np.random.default_rng(seed)
    quality = random_quality(rng, latency.costs, offered)
    parameters = ArchitectureParameters(offered, _RATE.value, seed)
    objective = Objective(form, [latency], reference_scale(latency, offered))
    search(parameters, objective, quality, _STEPS.value, rng, _NOISE.value, _MODE.value)
    (choice,) = most_probable(gates.log_probabilities(parameters.values()), [latency])
    return latency.expected(parameters.probabilities()), latency.of(choice)


def _latency(target: float):
    from nas_tf.latency.candidate_costs import offered_candidates
    from nas_tf.latency.table import load_table
    from nas_tf.search.config import Budget
    from nas_tf.search.problem import make_resources
    from nas_tf.space.search_space import FULL

    # The setting of the published table.
    resources = make_resources(FULL, 224, 1000, load_table(_TABLE.value), Budget(target))
    return resources[0], offered_candidates(FULL)


def _derivation() -> None:
    """Time and validity of budget derivation on random pairs."""
    from nas_tf.search import gates
    from nas_tf.search.derivation import most_probable
    from nas_tf.search.objective import Resource

    latency, offered = _latency(80.0)
    low, high = latency.range(offered)
    rng, seconds, over = np.random.default_rng(0), [], 0
    for _ in range(_PAIRS.value):
        limited = Resource(latency.name, latency.costs, latency.fixed, rng.uniform(low, high))
        # From hardly any preference among the candidates to choices that are all but made.
        alpha = np.where(offered, rng.normal(0, rng.choice([0.1, 1, 5]), offered.shape), -np.inf)
        began = time.perf_counter()
        (choice,) = most_probable(gates.log_probabilities(alpha), [limited])
        seconds.append(time.perf_counter() - began)
        over += limited.of(choice) > limited.limit
    milliseconds = 1000 * np.array(seconds)
    print(
        f"derivation: {_PAIRS.value} pairs, {over} over the target, median "
        f"{np.median(milliseconds):.1f} ms, largest {milliseconds.max():.1f} ms"
    )


def main(_) -> None:
    """Prints a row for each objective and target."""
    if _PAIRS.value:
        _derivation()
    print(
        f"{'objective':<13}{'target':>8}{'mean E':>9}{'smallest':>10}{'largest':>9}"
        f"{'worst error':>13}{'derived/target':>16}"
    )
    for form in _FORMS.value:
        for target in map(float, _TARGETS.value):
            ends, derived = np.array([_ends(form, target, seed) for seed in range(_SEEDS.value)]).T
            worst = np.abs(ends / target - 1).max()
            print(
                f"{form:<13}{target:8.0f}{ends.mean():9.2f}{ends.min():10.2f}{ends.max():9.2f}"
                f"{worst:13.2%}{derived.mean() / target:16.3f}",
                flush=True,
            )


if __name__ == "__main__":
    flags.mark_flag_as_required("latency_table")
    app.run(main)
