"""Whether a search found more than chance would: its network beside random ones of equal latency.

    python -m benchmarks.searched_and_random --workdir=runs/a …   (the flags of that search)

All are judged with the weights that they share, on the images held out from them. That a searched
network does better there proves nothing by itself: it was sampled more often, so its weights were
trained more. So the same search is run once more with gate gradients that say nothing
(`--algorithm=random`, in `<workdir>/control`), and judged in the same way: only what the search is
ahead of that control speaks for its gradients. How networks do with weights of their own is yet
another thing: train the printed ones with `python -m nas_tf.train --architecture=…`.
"""

import dataclasses
import pathlib

import numpy as np
from absl import flags

from flags import common
from flags import search as search_flags
from nas_tf.base import cli, files
from nas_tf.base.errors import require
from nas_tf.base.run_folder import RunFolder
from nas_tf.space.architecture import from_json, from_string

_NETWORKS = flags.DEFINE_integer("networks", 20, "Random networks.", lower_bound=2)
# Networks that leave much of the budget unused are easily beaten, which would prove nothing.
_MIN_SHARE = flags.DEFINE_float(
    "min_share", 0.95, "Least share of the budget that a random network uses.", 0.0, 1.0
)
_ALSO = flags.DEFINE_multi_string(
    "also", [], "Another network of the space to judge, as a short string; may be repeated."
)
_MAX_DRAWS = 1_000_000


def main() -> None:
    """Prints every network with its latency and its held-out top-1, for search and control."""
    from nas_tf.search import run as search_run
    from nas_tf.search.problem import check_problem

    config = search_run.as_begun(common.WORKDIR.value, search_flags.search_config())
    require(
        config.algorithm != "random",
        "--algorithm=random is the control already; name the search that is to be judged.",
    )
    problem = check_problem(config)
    from nas_tf.search.shared_weights import choice_of

    others = random_choices(problem, _NETWORKS.value, _MIN_SHARE.value, common.SEED.value)
    also = [choice_of(problem, from_string(text)) for text in _ALSO.value]
    control_config = dataclasses.replace(config, algorithm="random")
    control_dir = str(pathlib.Path(common.WORKDIR.value) / "control")
    search_run.run_search(control_dir, control_config)
    ahead = {
        "searched": _judged(common.WORKDIR.value, problem, others, also),
        "control": _judged(control_dir, dataclasses.replace(problem, config=control_config), others, []),
    }
    cli.print_facts("Ahead of random networks, in their standard deviations (shared weights)", ahead)


def _judged(workdir: str, problem, others: list[np.ndarray], also: list[np.ndarray]) -> float:
    """Prints a search's network and the others with its weights; how far the first is ahead."""
    from nas_tf.search.shared_weights import SharedWeights, choice_of

    path = RunFolder(workdir).searched_architecture
    found = from_json(files.read_json(path, "architecture"), f"architecture {str(path)!r}")
    shared = SharedWeights(workdir, problem.config)

    def judge(choice: np.ndarray) -> float:
        architecture = problem.architecture(choice)
        latency = problem.table.predict_ms(
            architecture, problem.config.resolution, problem.source.num_classes
        )
        top1 = shared.top1(choice)
        print(f"{top1:.2%}  {latency:.3f} ms  {architecture.to_string()}", flush=True)
        return top1

    print(f"\n{problem.config.algorithm} ({workdir})")
    searched = judge(choice_of(problem, found))
    for choice in also:
        judge(choice)
    top1 = [judge(choice) for choice in others]
    # ddof 1: the spread of all networks, estimated from these few.
    mean, deviation = float(np.mean(top1)), float(np.std(top1, ddof=1))
    cli.print_facts(
        "Held-out top-1 with shared weights",
        {
            "found": searched,
            "random, mean": mean,
            "random, standard deviation": deviation,
            "random, best": max(top1),
        },
    )
    return (searched - mean) / deviation


def random_choices(problem, count: int, min_share: float, seed: int) -> list[np.ndarray]:
    """Uniform draws of candidates that use this much of the latency budget and no more."""
    rng, latency, drawn = np.random.default_rng(seed), problem.resources[0], []
    blocks = np.arange(len(problem.offered))
    for _ in range(_MAX_DRAWS):
        choice = np.array([rng.choice(row.nonzero()[0]) for row in problem.offered])
        milliseconds = latency.fixed + latency.costs[blocks, choice].sum()
        if min_share * latency.limit <= milliseconds <= latency.limit:
            drawn.append(choice)
        if len(drawn) == count:
            return drawn
    require(
        False,
        f"Of {_MAX_DRAWS} random networks only {len(drawn)} use {min_share:.0%} to "
        f"100 % of the budget; lower --min_share.",
    )
    return drawn


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "latency_table", "target_latency_ms"])
    cli.run(main)
