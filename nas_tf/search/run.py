"""The search stage: from images and a latency table to an architecture within the budget."""

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from nas_tf.base import files, stopping
from nas_tf.base.checkpoints import RunCheckpoint
from nas_tf.base.clock import Clock
from nas_tf.base.metric_log import MetricLog
from nas_tf.base.progress import LOOK_EVERY, Progress
from nas_tf.base.run_folder import SEARCH, RunFolder, StageFolder
from nas_tf.data import batches
from nas_tf.data.config import NEWER_TRAINING, NO_AUGMENTATION, Part
from nas_tf.data.preprocess import to_network_input
from nas_tf.data.sources import ImageSource
from nas_tf.distribute.shards import Shards
from nas_tf.distribute.shared_run import (
    NoLog,
    SharedCheckpoint,
    agree_on_images,
    end_stage,
    ended_summary,
    open_shared_stage,
    shared_log,
)
from nas_tf.distribute.workers import ALONE, Workers, output, own_share
from nas_tf.latency.slow_entries import slow_entries
from nas_tf.search import gates
from nas_tf.search.config import SearchConfig
from nas_tf.search.judging import drawn_networks
from nas_tf.search.judging_alone import judged_alone
from nas_tf.search.outcome import not_converged, unused_budget
from nas_tf.search.problem import SearchProblem, check_problem, check_shards
from nas_tf.search.state import WEIGHT_ADVICE, SearchState
from nas_tf.space.architecture import in_words
from nas_tf.space.operations.zero import ZERO
from nas_tf.train import chance
from nas_tf.train.accuracy import AccuracyCounter
from nas_tf.train.counting import sum_counts
from nas_tf.train.schedules import cosine

_ACCURACY_IMAGES = 5000
_HELD_OUT = "held-out top-1"
_LEARN_MORE = (
    "use more --search_epochs and --search_warmup_epochs, or a smaller --search_learning_rate, in another "
    "--workdir"
)
# What runs of earlier versions did, whose settings do not say so.
_BEFORE: dict[str, Any] = {"drop_candidates": False, "min_budget_share": 0.0}
_BEFORE_PROJECTED = "constrained"  # their default
# No space had more candidates then, so the limit changes nothing.
_NEWER = {
    **NEWER_TRAINING,
    "max_gate_paths": SearchConfig.max_gate_paths,
    "judged_networks": SearchConfig.judged_networks,
    "judge_epochs": SearchConfig.judge_epochs,
    "shards": SearchConfig.shards,
}


def run_search(workdir: str, config: SearchConfig, workers: Workers = ALONE) -> dict[str, Any]:
    """Searches, or goes on where a killed search stopped.

    Args:
      workdir: run folder, which all processes have to see.
      config: what to do.
      workers: the processes that share the work; all of them call this.

    Returns:
      The summary: `architecture` (short string), `predicted_latency_ms`,
      `target_latency_ms`, `kernels` (of the table, so of both), `slow_entries` (of the
      table), `steps`, `seconds`, …

    Raises:
      UserError: see `check_problem`; or the folder holds another run.
    """
    problem = check_problem(as_begun(workdir, config))
    check_shards(problem.source, problem.config, (problem.weight_part, problem.alpha_part), workers)
    stage = open_shared_stage(workdir, SEARCH, _settings(problem), _NEWER | _BEFORE, workers)
    agree_on_images(problem.source, config.data.train_split, workers)
    summary = ended_summary(stage, workers)
    if summary is None:
        clock = Clock()
        if workers.rank == 0:
            _say_what_is_dropped(problem)
        problem = problem.holding_alpha_images(output(workers))
        state = SearchState(problem, workers)
        _search(problem, state, stage, clock)
        summary = _finish(problem, state, stage) | {"seconds": clock.seconds()}
        end_stage(stage, summary, workers)
    return summary


def _batch_size(problem: SearchProblem, part: Part) -> int:
    # A batch larger than its part would hold the same image twice.
    return min(problem.config.schedule.batch_size, _source(problem, part).part_size(part))


def _source(problem: SearchProblem, part: Part) -> ImageSource:
    return problem.source if part is problem.weight_part else problem.alpha_source


def as_begun(workdir: str, config: SearchConfig) -> SearchConfig:
    """The configuration, or what it meant where the run began in an earlier version."""
    held = RunFolder(workdir).stage(SEARCH).settings()
    if held is None or _BEFORE.keys() <= held.keys():
        return config
    projected = config.latency_loss == SearchConfig.latency_loss
    form = _BEFORE_PROJECTED if projected else config.latency_loss
    _say(
        "this run was begun by an earlier version and goes on as it began: no candidate is dropped, "
        f"--min_budget_share=0, --latency_loss={form}"
    )
    return dataclasses.replace(config, **_BEFORE, latency_loss=form)


def _say_what_is_dropped(problem: SearchProblem) -> None:
    count, limit = int(problem.dropped.sum()), problem.config.budget.latency_ms
    if count:
        _say(
            f"DROPPED {count} of {int(problem.in_space.sum())} candidates, which no network within the "
            f"budget can have (--nosearch_drop_candidates keeps them): {problem.dropped_in_words}"
        )
    dearest = problem.resources[0].range(problem.offered)[1]
    if dearest <= limit:
        _say(
            f"of what is left, the slowest network takes {dearest:.4g} ms, so nothing holds the "
            f"latency at the target of {limit:g}; use a lower --target_latency_ms"
        )


def _say(text: str) -> None:
    # Where progress goes; the output is for the result.
    print(f"{SEARCH}: {text}", file=sys.stderr, flush=True)


def _settings(problem: SearchProblem) -> dict[str, Any]:
    """What decides the outcome; where data and table lie and how often to save do not."""
    settings = dataclasses.asdict(problem.config)
    settings["data"] = problem.config.data.identity()
    for name in ("checkpoint_minutes", "keep_checkpoints", "latency_table"):
        del settings[name]
    # The table by what it says and not by its path, which may change between runs.
    costs = [[r.name, r.fixed, r.costs.round(9).tolist()] for r in problem.resources]
    return settings | {
        "costs": costs,
        "steps_per_epoch": problem.steps_per_epoch,
        "num_classes": problem.source.num_classes,
    }


def learning_rate(problem: SearchProblem, step: int) -> float:
    """The weights' rate at a 0-based step: one cosine over warm-up, one over the joint phase."""
    schedule, warmup = problem.config.schedule, problem.warmup_steps
    if step < warmup:
        return cosine(step, warmup, schedule.warmup_learning_rate)
    return cosine(step - warmup, problem.total_steps - warmup, schedule.learning_rate)


def alpha_steps_before(problem: SearchProblem, step: int) -> int:
    """How many architecture steps precede the end of weight step `step` (a count of steps)."""
    return max(0, step - problem.warmup_steps) // problem.config.schedule.alpha_every


def _search(problem: SearchProblem, state: SearchState, stage: StageFolder, clock: Clock) -> None:
    config, epoch_steps = problem.config, problem.steps_per_epoch
    workers = state.workers
    saved = RunCheckpoint(
        stage.path, WEIGHT_ADVICE, clock, config.keep_checkpoints, state.pack, **state.trackables()
    )
    checkpoint = SharedCheckpoint(saved, workers, state.shards)
    start = checkpoint.restore()
    if start:
        state.unpack()
    log = shared_log(stage, start // epoch_steps, workers)
    weight_images = _images(problem, problem.weight_part, start, state.shards)
    alpha_images = _images(problem, problem.alpha_part, alpha_steps_before(problem, start), state.shards)
    shown_on = output(workers)
    with stopping.held_back(), Progress(SEARCH, problem.total_steps, start, shown_on) as progress:
        if workers.chief_says(log.lacks_epoch_before(start, epoch_steps)):
            with checkpoint.saved_if_stopped(start):
                _end_epoch(problem, state, log, progress, start)
        for step in range(start, problem.total_steps):
            if step == start or step % epoch_steps == 0:
                checkpoint.require_room()
            _step(problem, state, step, weight_images, alpha_images)
            done = step + 1
            ends_epoch = done % epoch_steps == 0
            progress.update(done, **_shown(state) if done % LOOK_EVERY == 0 else {})
            if ends_epoch:
                # What ends the run is found before the epoch is judged.
                state.read()
                with checkpoint.saved_if_stopped(done):
                    _end_epoch(problem, state, log, progress, done)
            # After the epoch's line: what a kill in between leaves of it is dropped and written again.
            checkpoint.after_step(done, ends_epoch, 60 * config.checkpoint_minutes)
    log.close()


def _step(
    problem: SearchProblem, state: SearchState, step: int, weight_images: Iterator, alpha_images: Iterator
) -> None:
    """A weight step, and an architecture step where one is due."""
    if step % problem.steps_per_epoch == 0:
        state.begin_epoch()
    state.weight_step(step, *next(weight_images), learning_rate(problem, step))
    if alpha_steps_before(problem, step + 1) > alpha_steps_before(problem, step):
        state.alpha_step(step, *next(alpha_images))


def _images(problem: SearchProblem, part: Part, start_step: int, shards: Shards) -> Iterator:
    """Endless batches of a part from a step on. Alpha sees images as evaluation does."""
    config = problem.config
    augmentation = config.augmentation if part is problem.weight_part else NO_AUGMENTATION
    size, source = _batch_size(problem, part), _source(problem, part)
    dataset = batches.training_batches(
        source,
        part,
        size,
        config.resolution,
        augmentation,
        config.seed,
        start_step,
        config.data.resize_size,
        shards.rows(size),
    )
    return batches.readable(source, batches.on_device(dataset))


def _shown(state: SearchState) -> dict[str, float]:
    figures = state.figures()
    return {name: figures[name] for name in ("loss", "expected_latency_ms", "entropy")}


def _end_epoch(
    problem: SearchProblem, state: SearchState, log: MetricLog | NoLog, progress: Progress, done: int
) -> None:
    """The epoch's line, on disk and for the eye."""
    epoch = done // problem.steps_per_epoch - 1
    epochs = problem.total_steps // problem.steps_per_epoch
    p = state.parameters.probabilities()
    choice = p.argmax(axis=1)
    accuracy = _held_out(problem, state, state.running(done, choice))
    figures = {**state.figures(), "top1": accuracy.top1}
    # Of the first epoch, the mean begins at random weights.
    if epoch or epochs == 1:
        chance.require_no_divergence(_HELD_OUT, accuracy, figures["loss"], WEIGHT_ADVICE)
    # Of all that the space has: readers find a candidate by its place in the space.
    listed = [row[present].tolist() for row, present in zip(p, problem.in_space, strict=True)]
    words = in_words(problem.architecture(choice))
    log.write(
        epoch,
        **figures,
        probabilities=listed,
        most_probable=words,
        learning_rate=learning_rate(problem, done - 1),
    )
    shown = {name: value for name, value in figures.items() if value is not None}
    progress.note(f"epoch {epoch + 1}/{epochs}", **shown)
    progress.note(f"most probable {words}, its mean probability {p.max(axis=1).mean():.2f}")


def held_out_accuracy(problem: SearchProblem, state: SearchState, choice: np.ndarray) -> float:
    """Top-1 of one network with the shared weights on held-out images, normalized batch-wise."""
    return _held_out(problem, state, choice).top1


def _held_out(problem: SearchProblem, state: SearchState, choice: np.ndarray) -> AccuracyCounter:
    """The same, counted.

    Moving averages of a path come from ever different networks before it, so the batch's own
    statistics are used.
    """
    # No weight was trained on these; the evaluation split is left for judging the result.
    config, source, part = problem.config, problem.alpha_source, problem.alpha_part
    number = min(_ACCURACY_IMAGES, source.part_size(part))
    # At most all images, or there would be no whole batch.
    size = min(config.schedule.batch_size, number)
    dataset = batches.evaluation_batches(source, part, size, config.resolution, config.data.resize_size)
    accuracy = AccuracyCounter()
    # Whole batches only: a last one of few images would be normalized by next to nothing.
    whole = batches.readable(source, batches.on_device(dataset.take(number // size)))
    accuracy.add_all(
        (state.supernet(to_network_input(images), choice, training=True), labels)
        for images, labels in own_share(stopping.watched(whole), state.workers)
    )
    return sum_counts(accuracy, problem.source.num_classes, state.workers)


def _finish(problem: SearchProblem, state: SearchState, stage: StageFolder) -> dict[str, Any]:
    """Derives the networks and writes them."""
    log_p = gates.log_probabilities(state.parameters.values())
    choices = problem.derive(log_p, count=problem.config.num_candidates)
    choices = _best_first(problem, state, stage, log_p, choices)
    accuracy = _held_out(problem, state, choices[0])
    if state.workers.rank:
        return {}
    candidates = [_facts(problem, log_p, choice) for choice in choices]
    files.write_json(stage.candidates, candidates)
    best = problem.architecture(choices[0])
    files.write_json(stage.architecture, best.to_json())
    figures = state.figures()
    # The summary has it as a short string; the files above have it whole.
    del candidates[0]["architecture"]
    warning = _collapsed(problem, log_p) or chance.warning(_HELD_OUT, accuracy, _LEARN_MORE)
    warning |= _doubts(problem, log_p, choices[0])
    for text in warning.values():
        _say(f"WARNING: {text}")
    return {
        "architecture": best.to_string(),
        "operations": in_words(best),
        **candidates[0],
        "target_latency_ms": problem.config.budget.latency_ms,
        "kernels": problem.table.identity.kernels,
        "slow_entries": [group.to_json() for group in slow_entries(problem.table)],
        "expected_latency_ms": figures["expected_latency_ms"],
        "entropy": figures["entropy"],
        "top1": accuracy.top1,
        "candidates": len(candidates),
        "dropped_candidates": int(problem.dropped.sum()),
        "dropped": problem.dropped_in_words or "none",
        "steps": problem.total_steps,
        "architecture_file": str(stage.architecture),
        **warning,
    }


def _collapsed(problem: SearchProblem, log_p: np.ndarray) -> dict[str, str]:
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
) -> list[np.ndarray]:
    """The choices, with the best of those that are judged before the others."""
    config = problem.config
    if config.judged_networks == 1:
        return choices
    drawn = drawn_networks(
        lambda p: problem.derive(p)[0], problem.fits, log_p, config.judged_networks, config.seed
    )
    accuracies = _judged(problem, state, stage, drawn)
    # Of equals the first, and so the most probable one where it is among them.
    best = drawn[int(np.argmax(accuracies))]
    others = [choice for choice in choices if (choice != best).any()]
    return [best, *others][: len(choices)]


def _judged(
    problem: SearchProblem, state: SearchState, stage: StageFolder, drawn: list[np.ndarray]
) -> list[float]:
    """An accuracy of each network, by which they are compared."""
    if problem.config.judge_epochs:
        return judged_alone(
            problem,
            drawn,
            lambda: _images(problem, problem.weight_part, 0, state.shards),
            state.shards,
            state.workers,
            stage.judged,
        )
    accuracies: list[float] = []
    with Progress(f"{SEARCH}: judge", len(drawn), stream=output(state.workers)) as progress:
        for choice in drawn:
            accuracies.append(held_out_accuracy(problem, state, choice))
            progress.update(len(accuracies), top1=accuracies[-1], best=max(accuracies))
    return accuracies


def _doubts(problem: SearchProblem, log_p: np.ndarray, choice: np.ndarray) -> dict[str, str]:
    latency, config = problem.resources[0], problem.config
    slowest = latency.range(problem.offered)[1]
    return not_converged(log_p, problem.offered) | unused_budget(
        latency.of(choice), latency.limit, slowest, problem.least_share, config.derive
    )


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
