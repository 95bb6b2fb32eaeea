"""Whether a search found more than chance would: its network beside random ones of equal latency.

    python -m benchmarks.searched_and_random --workdir=runs/a …   (the flags of that search)

All are judged with the weights that they share, on the images held out from them. That tells
whether alpha was led well, not how the networks do with weights of their own: for that, train
the printed ones with `python -m nas_tf.train --architecture=…` beside the searched one.
"""

import pathlib

import numpy as np
from absl import flags

from flags import common
from flags import search as search_flags
from nas_tf import cli, files
from nas_tf.errors import require
from nas_tf.space.architecture import from_json, from_string

_NETWORKS = flags.DEFINE_integer("networks", 20, "Random networks.", lower_bound=2)
_MIN_SHARE = flags.DEFINE_float(
    "min_share", 0.95, "Least share of the budget that a random network uses.", 0.0, 1.0)
_ALSO = flags.DEFINE_multi_string(
    "also", [], "Another network of the space to judge, as a short string; may be repeated.")
_MAX_DRAWS = 1_000_000


def main() -> None:
    """Prints every network with its latency and its held-out top-1."""
    from nas_tf import search_run  # pylint: disable=import-outside-toplevel
    from nas_tf.search_problem import check_problem  # pylint: disable=import-outside-toplevel
    from nas_tf.search_state import SearchState  # pylint: disable=import-outside-toplevel
    from nas_tf.training.checkpoints import RunCheckpoint  # pylint: disable=import-outside-toplevel

    folder = pathlib.Path(common.WORKDIR.value) / search_run.STAGE
    path = folder / search_run.ARCHITECTURE_FILE
    found = from_json(files.read_json(path, "architecture"), f"architecture {str(path)!r}")
    problem = check_problem(search_flags.search_config())
    state = SearchState(problem)
    RunCheckpoint(folder, **state.trackables()).restore()

    def judge(choice: np.ndarray) -> float:
        architecture = problem.architecture(choice)
        latency = problem.table.predict_ms(
            architecture, problem.config.resolution, problem.source.num_classes)
        top1 = search_run.held_out_accuracy(problem, state, choice)
        print(f"{top1:.2%}  {latency:.3f} ms  {architecture.to_string()}", flush=True)
        return top1

    searched = judge(choice_of(problem, found))
    for text in _ALSO.value:
        judge(choice_of(problem, from_string(text)))
    others = [judge(choice) for choice in random_choices(
        problem, _NETWORKS.value, _MIN_SHARE.value, common.SEED.value)]
    cli.print_facts("Held-out top-1 with shared weights", {
        "searched": searched, "random, mean": float(np.mean(others)),
        "random, standard deviation": float(np.std(others, ddof=1)),
        "random, best": max(others)})


def choice_of(problem, architecture) -> np.ndarray:
    """The candidates that an architecture of the space consists of; refuses any other."""
    choices = problem.space.choices(problem.config.resolution)
    # Before them the fixed block.
    operations = [block.operation for block in architecture.blocks[1:]]
    picked = [choice.operations.index(operation) for choice, operation in zip(choices, operations)
              if operation in choice.operations]
    require(len(picked) == len(choices) == len(operations)
            and problem.architecture(np.array(picked)).to_string() == architecture.to_string(),
            f"{architecture.to_string()!r} is not of the space {problem.config.space!r}.")
    return np.array(picked)


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
    require(False, f"Of {_MAX_DRAWS} random networks only {len(drawn)} use {min_share:.0%} to "
                   f"100 % of the budget; lower --min_share.")
    return drawn


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "latency_table", "target_latency_ms"])
    cli.run(main)
