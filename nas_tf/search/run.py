"""The search stage: from images and a latency table to an architecture within the budget."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from nas_tf.base import stopping
from nas_tf.base.checkpoints import RunCheckpoint
from nas_tf.base.clock import Clock
from nas_tf.base.metric_log import MetricLog
from nas_tf.base.progress import LOOK_EVERY, Progress
from nas_tf.base.run_folder import SEARCH, RunFolder, StageFolder
from nas_tf.data.config import NEWER_TRAINING
from nas_tf.distribute.shared_run import (
    NoLog,
    SharedCheckpoint,
    agree_on_images,
    end_stage,
    ended_summary,
    open_shared_stage,
    shared_log,
)
from nas_tf.distribute.workers import ALONE, Workers, output
from nas_tf.search.config import SearchConfig
from nas_tf.search.ending import finish, say
from nas_tf.search.judging_alone import seconds_of
from nas_tf.search.part_images import HELD_OUT, held_out, training_images
from nas_tf.search.problem import SearchProblem, check_problem, check_shards
from nas_tf.search.state import WEIGHT_ADVICE, SearchState
from nas_tf.space.architecture import in_words
from nas_tf.train import chance
from nas_tf.train.schedules import cosine

# What runs of earlier versions did, whose settings do not say so.
_BEFORE: dict[str, Any] = {"drop_candidates": False, "min_budget_share": 0.0}
_BEFORE_PROJECTED = "constrained"  # their default
# No space had more candidates then, so the limit changes nothing.
_NEWER = {
    **NEWER_TRAINING,
    "max_gate_paths": SearchConfig.max_gate_paths,
    "judged_networks": SearchConfig.judged_networks,
    "judge_epochs": SearchConfig.judge_epochs,
    "judge_rounds": SearchConfig.judge_rounds,
    "finalists": SearchConfig.finalists,
    "finalist_epochs": SearchConfig.finalist_epochs,
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
        for record in (stage.judged, stage.finalists):
            clock.add_earlier(seconds_of(record))
        if workers.rank == 0:
            _say_what_is_dropped(problem)
        problem = problem.holding_alpha_images(output(workers))
        state = SearchState(problem, workers)
        _search(problem, state, stage, clock)
        summary = finish(problem, state, stage) | {"seconds": clock.seconds()}
        end_stage(stage, summary, workers)
    return summary


def as_begun(workdir: str, config: SearchConfig) -> SearchConfig:
    """The configuration, or what it meant where the run began in an earlier version."""
    held = RunFolder(workdir).stage(SEARCH).settings()
    if held is None or _BEFORE.keys() <= held.keys():
        return config
    projected = config.latency_loss == SearchConfig.latency_loss
    form = _BEFORE_PROJECTED if projected else config.latency_loss
    say(
        "this run was begun by an earlier version and goes on as it began: no candidate is dropped, "
        f"--min_budget_share=0, --latency_loss={form}"
    )
    return dataclasses.replace(config, **_BEFORE, latency_loss=form)


def _say_what_is_dropped(problem: SearchProblem) -> None:
    count, limit = int(problem.dropped.sum()), problem.config.budget.latency_ms
    if count:
        say(
            f"DROPPED {count} of {int(problem.in_space.sum())} candidates, which no network within the "
            f"budget can have (--nosearch_drop_candidates keeps them): {problem.dropped_in_words}"
        )
    dearest = problem.resources[0].range(problem.offered)[1]
    if dearest <= limit:
        say(
            f"of what is left, the slowest network takes {dearest:.4g} ms, so nothing holds the "
            f"latency at the target of {limit:g}; use a lower --target_latency_ms"
        )


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
    weight_images = training_images(problem, problem.weight_part, start, state.shards)
    alpha_start = alpha_steps_before(problem, start)
    alpha_images = training_images(problem, problem.alpha_part, alpha_start, state.shards)
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
    accuracy = held_out(problem, state, state.running(done, choice))
    figures = {**state.figures(), "top1": accuracy.top1}
    # Of the first epoch, the mean begins at random weights.
    if epoch or epochs == 1:
        chance.require_no_divergence(HELD_OUT, accuracy, figures["loss"], WEIGHT_ADVICE)
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
