"""What follows a search's last step: networks derived, judged, written, and doubted."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from nas_tf.base import files
from nas_tf.base.progress import Progress
from nas_tf.base.run_folder import SEARCH, StageFolder
from nas_tf.distribute.workers import output
from nas_tf.latency.slow_entries import slow_entries
from nas_tf.search import gates
from nas_tf.search.judged_rounds import judged_in_rounds
from nas_tf.search.judging_alone import first_part, judged_alone, whole_training
from nas_tf.search.outcome import not_converged, unused_budget
from nas_tf.search.part_images import HELD_OUT, held_out, held_out_accuracy
from nas_tf.search.problem import SearchProblem
from nas_tf.search.state import SearchState
from nas_tf.space.architecture import in_words
from nas_tf.space.operations.zero import ZERO
from nas_tf.train import chance
from nas_tf.train.accuracy import AccuracyCounter

_LEARN_MORE = (
    "use more --search_epochs and --search_warmup_epochs, or a smaller --search_learning_rate, in another "
    "--workdir"
)


def say(text: str) -> None:
    """A line for people, beside the progress."""
    # Where progress goes; the output is for the result.
    print(f"{SEARCH}: {text}", file=sys.stderr, flush=True)


def finish(problem: SearchProblem, state: SearchState, stage: StageFolder) -> dict[str, Any]:
    """Derives the networks and writes them."""
    log_p = gates.log_probabilities(state.parameters.values())
    choices = problem.derive(log_p, count=problem.config.num_candidates)
    choices, judged = _best_first(problem, state, stage, log_p, choices)
    # Where no weights are shared, these have learned nothing.
    accuracy = held_out(problem, state, choices[0]) if problem.total_steps else None
    if state.workers.rank:
        return {}
    candidates = [_facts(problem, log_p, choice) for choice in choices]
    files.write_json(stage.candidates, candidates)
    best = problem.architecture(choices[0])
    files.write_json(stage.architecture, best.to_json())
    figures = state.figures()
    # The summary has it as a short string; the files above have it whole.
    del candidates[0]["architecture"]
    warning = _doubts(problem, log_p, choices[0], accuracy)
    for text in warning.values():
        say(f"WARNING: {text}")
    return {
        "architecture": best.to_string(),
        "operations": in_words(best),
        **candidates[0],
        "target_latency_ms": problem.config.budget.latency_ms,
        "kernels": problem.table.identity.kernels,
        "slow_entries": [group.to_json() for group in slow_entries(problem.table)],
        "expected_latency_ms": figures["expected_latency_ms"],
        "entropy": figures["entropy"],
        **({"top1": accuracy.top1} if accuracy else {}),
        **judged,
        "candidates": len(candidates),
        "dropped_candidates": int(problem.dropped.sum()),
        "dropped": problem.dropped_in_words or "none",
        "steps": problem.total_steps,
        "architecture_file": str(stage.architecture),
        **warning,
    }


def collapsed(problem: SearchProblem, log_p: np.ndarray) -> dict[str, str]:
    """An entry `warning` if alpha leaves out every block that can be left out, else nothing."""
    choices = problem.space.choices(problem.config.resolution)
    zero = np.zeros_like(problem.offered)
    for block, choice in enumerate(choices):
        zero[block, : len(choice.specs)] = [spec.operation == ZERO for spec in choice.specs]
    zero &= problem.offered
    # Of a block that has nothing else, alpha decides nothing.
    free = zero.any(axis=1) & (problem.offered.sum(axis=1) > 1)
    if not free.any() or not zero[np.arange(len(zero)), log_p.argmax(axis=1)][free].all():
        return {}
    return {
        "warning": f"alpha leaves out all {free.sum()} blocks that can be left out, so it has chosen "
        "nothing; use a higher --target_latency_ms, or a smaller --search_alpha_learning_rate with more "
        "--search_warmup_epochs"
    }


def _best_first(
    problem: SearchProblem,
    state: SearchState,
    stage: StageFolder,
    log_p: np.ndarray,
    choices: list[np.ndarray],
) -> tuple[list[np.ndarray], dict[str, float]]:
    """The choices, with the best of those that are judged before the others, and what it was judged by."""
    if problem.config.judged_networks == 1:
        return choices, {}
    tell = say if state.workers.rank == 0 else (lambda _: None)
    drawn, figures = judged_in_rounds(problem, log_p, lambda new: _judged(problem, state, stage, new), tell)
    best, by = drawn[0], {"judged_top1": figures[0]}
    if problem.config.algorithm == "random":
        # The control that learns nothing: its figures are no accuracies, and would be none in a final.
        by = {}
    elif problem.config.finalists:
        best, by = _winner(problem, state, stage, drawn[: problem.config.finalists])
    others = [choice for choice in choices if (choice != best).any()]
    return [best, *others][: len(choices)], by


def _winner(
    problem: SearchProblem, state: SearchState, stage: StageFolder, finalists: Sequence[np.ndarray]
) -> tuple[np.ndarray, dict[str, float]]:
    """The best of these after a whole training of each, and its accuracy there."""
    trial = whole_training(problem.config)
    figures = judged_alone(problem, finalists, trial, state.shards, state.workers, stage.finalists)
    best = int(np.argmax(figures))
    return finalists[best], {"finalist_top1": figures[best]}


def _judged(
    problem: SearchProblem, state: SearchState, stage: StageFolder, drawn: Sequence[np.ndarray]
) -> list[float]:
    """An accuracy of each network, by which they are compared."""
    if problem.config.judge_epochs:
        trial = first_part(problem.config)
        return judged_alone(problem, drawn, trial, state.shards, state.workers, stage.judged)
    accuracies: list[float] = []
    with Progress(f"{SEARCH}: judge", len(drawn), stream=output(state.workers)) as progress:
        for choice in drawn:
            accuracies.append(held_out_accuracy(problem, state, choice))
            progress.update(len(accuracies), top1=accuracies[-1], best=max(accuracies))
    return accuracies


def _doubts(
    problem: SearchProblem, log_p: np.ndarray, choice: np.ndarray, accuracy: AccuracyCounter | None
) -> dict[str, str]:
    latency, config = problem.resources[0], problem.config
    slowest = latency.range(problem.offered)[1]
    unused = unused_budget(latency.of(choice), latency.limit, slowest, problem.least_share, config.derive)
    if accuracy is None:
        return unused  # alpha was not asked to decide anything
    learned = collapsed(problem, log_p) or chance.warning(HELD_OUT, accuracy, _LEARN_MORE)
    # Of several rounds, alpha has drawn the first alone.
    undecided = not_converged(log_p, problem.offered) if config.judge_rounds == 1 else {}
    return learned | undecided | unused


def _facts(problem: SearchProblem, log_p: np.ndarray, choice: np.ndarray) -> dict[str, Any]:
    architecture = problem.architecture(choice)
    resolution, classes = problem.config.resolution, problem.source.num_classes
    return {
        "architecture": architecture.to_json(),
        "log_probability": float(log_p[np.arange(len(choice)), choice].sum()),
        "predicted_latency_ms": problem.table.predict_ms(architecture, resolution, classes),
        "params": architecture.params(classes),
        "macs": architecture.macs(resolution, classes),
    }
