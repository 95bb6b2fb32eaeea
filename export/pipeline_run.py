"""The whole pipeline: every stage's library call in order, each fed by the one before.

It lies in `export`, the last room, because it needs all the others. Every stage resumes by
itself, so running the pipeline again takes up the stage that was cut short.
"""

import dataclasses
import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from export.benchmark_run import run_benchmark
from export.convert_run import run_convert
from export.evaluate_run import run_evaluate
from export.pipeline_check import check_stages
from export.pipeline_config import PipelineConfig
from nas_tf.base.run_folder import (
    BENCHMARK,
    CONVERT,
    DOUBTS,
    EVALUATE,
    FINETUNE,
    PIPELINE,
    SEARCH,
    TABLE,
    TRAIN,
    RunFolder,
    StageFolder,
)
from nas_tf.distribute.workers import ALONE, Workers
from nas_tf.latency import build_run
from nas_tf.latency.kernels import begun_kernels, keep_begun_kernels, kernels_of_table
from nas_tf.latency.table import load_table
from nas_tf.search.config import SearchConfig

# Of each stage's summary, what the pipeline's own summary repeats.
KEY_FIGURES = {
    TABLE: ("device", "kernels", "entries", "output"),
    SEARCH: ("predicted_latency_ms", "target_latency_ms", "kernels", "steps", *DOUBTS),
    TRAIN: ("top1", "top5", "params", "macs", *DOUBTS),
    FINETUNE: ("float_top1", "qat_top1", "steps", *DOUBTS),
    CONVERT: ("output", "bytes", "background_margin_steps"),
    EVALUATE: ("top1", "top5", "num_examples", "background_predictions", "kernels"),
    BENCHMARK: ("median_ms", "p90_ms", "device", "kernels"),
}


def run_pipeline(workdir: str, config: PipelineConfig, workers: Workers = ALONE) -> dict[str, Any]:
    """Runs every stage that has not ended, and writes the report.

    Args:
      workdir: run folder, which all processes have to see.
      config: what to do.
      workers: the processes that share search, training, fine-tuning and evaluation; all of them call
        this, and wait while the chief does the other stages.

    Returns:
      The summary: for each stage its `path` and key figures; `report`, `seconds` (the sum of
      theirs, so over all attempts of the run). Nothing in other processes than the chief.

    Raises:
      UserError: settings that no stage could work with, before any long work.
    """
    num_classes = check_stages(workdir, config, workers)
    # A table that this run has yet to measure cannot be looked at now.
    if config.search.latency_table and not config.architecture:
        _check_search(config)
    config = _with_kernels(workdir, config)
    # Every stage compares its own settings; these are the ones that no stage has.
    # Here, since it loads TensorFlow.
    from nas_tf.distribute.shared_run import open_shared_stage

    settings = {"architecture": config.architecture, "target_share": config.target_share}
    stage = open_shared_stage(workdir, PIPELINE, settings, {}, workers)
    # The stages that are shared compare theirs, too, but that may be after hours of others.
    workers.agree("setting", _shared_settings(config), "give all processes the same flags")
    summaries = {}
    for number, (name, run) in enumerate(plan := _plan(workdir, config, num_classes, workers), start=1):
        if workers.rank == 0:
            # To the error stream, where progress goes too; the output is for the result.
            print(f"\n[{number}/{len(plan)}] {name}", file=sys.stderr, flush=True)
        summaries[name] = run()
        _forget_graphs()
    return workers.by_chief(lambda: _summary(workdir, stage, summaries)) or {}


def _summary(workdir: str, stage: StageFolder, summaries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Writes the report and the summary of a run whose stages have ended."""
    # Not every summary has all of its figures: a phone's benchmark has no `p90_ms`.
    summary: dict[str, Any] = {
        name: {
            "path": str(RunFolder(workdir).stage(name).path),
            **{key: facts[key] for key in (*KEY_FIGURES[name], "seconds") if key in facts},
        }
        for name, facts in summaries.items()
    }
    seconds = sum(facts.get("seconds", 0.0) for facts in summaries.values())
    summary |= {"report": _report(workdir), "seconds": seconds}
    stage.write_summary(summary)
    return summary


def _shared_settings(config: PipelineConfig) -> dict[str, Any]:
    """Of the stages that processes share, what decides their outcome as far as flags say it."""
    found: dict[str, Any] = {}
    for name, of_stage in ((SEARCH, config.search), (TRAIN, config.train), (FINETUNE, config.finetune)):
        found[name] = dataclasses.asdict(of_stage) | {"data": of_stage.data.identity()}
        # Where the table lies and how often to save decide nothing.
        for free in ("latency_table", "checkpoint_minutes", "keep_checkpoints"):
            found[name].pop(free, None)
    return found


def facts_for_people(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary in a few printable lines."""
    search, evaluate = summary.get(SEARCH, {}), summary[EVALUATE]
    facts = {}
    if search:
        facts["predicted latency"] = (
            f"{search['predicted_latency_ms']:.4g} ms, budget {search['target_latency_ms']:.4g} ms"
            f"{_by_kernels(search)}"
        )
    timed = summary[BENCHMARK]
    return facts | {
        "measured latency": f"{timed['median_ms']:.4g} ms on {timed['device']}{_by_kernels(timed)}",
        "float top-1": f"{summary[FINETUNE]['float_top1']:.2%}",
        "int8 top-1": f"{evaluate['top1']:.2%} of {evaluate['num_examples']} images{_by_kernels(evaluate)}",
        "background predictions": evaluate["background_predictions"],
        "file": f"{summary[CONVERT]['output']} ({summary[CONVERT]['bytes']:,} bytes)",
        "report": summary["report"],
        "seconds": round(summary["seconds"]),
        **_doubts(summary),
    }


def _doubts(summary: dict[str, Any]) -> dict[str, str]:
    stages = {name: facts for name, facts in summary.items() if isinstance(facts, dict)}
    return {
        f"{stage}, {doubt.replace('_', ' ')}": facts[doubt]
        for stage, facts in stages.items()
        for doubt in DOUBTS
        if doubt in facts
    }


def _by_kernels(facts: dict[str, Any]) -> str:
    """Summaries of earlier versions do not say."""
    return f", {facts['kernels']} kernels" if facts.get("kernels") else ""


def _with_kernels(workdir: str, config: PipelineConfig) -> PipelineConfig:
    """One choice of kernels for the table that a search believes, and for timing and judging its result."""
    table, timed, given = config.table.device, config.benchmark.device, config.kernels_given
    if not given:
        table = keep_begun_kernels(table, workdir, TABLE)
    if begun_kernels(workdir, BENCHMARK):
        # If others were asked for, the stage itself refuses them.
        timed = timed if given else keep_begun_kernels(timed, workdir, BENCHMARK)
    elif config.search.latency_table and not config.architecture:
        timed = kernels_of_table(timed, given, load_table(config.search.latency_table))
    elif not given:
        timed = dataclasses.replace(timed, kernels=table.kernels)
    return dataclasses.replace(
        config,
        table=dataclasses.replace(config.table, device=table),
        benchmark=dataclasses.replace(config.benchmark, device=timed),
        evaluate=config.evaluate
        if config.eval_kernels_given
        # A begun evaluation keeps its own: earlier versions did not follow the benchmark.
        else dataclasses.replace(config.evaluate, kernels=begun_kernels(workdir, EVALUATE) or timed.kernels),
    )


def _plan(
    workdir: str,
    config: PipelineConfig,
    num_classes: int,
    workers: Workers,
) -> list[tuple[str, Callable[[], dict[str, Any]]]]:
    """(name, call) of every stage to run, in order."""
    # Only now, when all that can be refused at once has been looked at: they load TensorFlow.
    from nas_tf.train.run import run_train
    from quant.finetune_run import run_finetune

    def by_chief(run: Callable[..., dict[str, Any]], stage_config: Any) -> Callable[[], dict[str, Any]]:
        return lambda: workers.by_chief(lambda: run(workdir, stage_config)) or {}

    plan: list[tuple[str, Callable[[], dict[str, Any]]]] = []
    table = config.search.latency_table
    if not config.architecture:
        if not table:
            # The classifier's width, and so its latency, is that of the dataset's classes.
            table_config = dataclasses.replace(config.table, num_classes=num_classes)
            plan.append((TABLE, by_chief(build_run.run_build_table, table_config)))
        plan.append((SEARCH, lambda: _search(workdir, config, table, workers)))
    return plan + [
        (TRAIN, lambda: run_train(workdir, config.train, workers)),
        (FINETUNE, lambda: run_finetune(workdir, config.finetune, workers)),
        (CONVERT, by_chief(run_convert, config.convert)),
        (EVALUATE, lambda: run_evaluate(workdir, config.evaluate, workers)),
        (BENCHMARK, by_chief(run_benchmark, config.benchmark)),
    ]


def _search(workdir: str, config: PipelineConfig, table: str, workers: Workers) -> dict[str, Any]:
    """The search with the given table, or with the one that this run built."""
    from nas_tf.search.run import run_search

    if not table:
        # Not the path in its summary, which is another one when the run folder has moved.
        table = str(RunFolder(workdir).latency_table)
    return run_search(workdir, _with_table(config, table), workers)


def _check_search(config: PipelineConfig) -> None:
    from nas_tf.search.problem import check_problem

    check_problem(_with_table(config, config.search.latency_table))


def _with_table(config: PipelineConfig, table: str) -> SearchConfig:
    """The search's settings with this table, and with the budget in milliseconds."""
    search = dataclasses.replace(config.search, latency_table=table)
    if not config.target_share:
        return search
    low, high = _latency_range(search)
    # limit = fastest + share · (slowest − fastest), to four digits like a person would write it
    limit = float(f"{low + config.target_share * (high - low):.4g}")
    return dataclasses.replace(search, budget=dataclasses.replace(search.budget, latency_ms=limit))


def _latency_range(search: SearchConfig) -> tuple[float, float]:
    """Predicted milliseconds of the fastest and the slowest network of the space.

    Candidates that are out of proportion to their work do not count, for one that is 50 times as
    slow as the others would take the slowest network far from all that anyone looks for.
    """
    from nas_tf.data.opening import open_config
    from nas_tf.latency.candidate_costs import offered_candidates
    from nas_tf.latency.slow_entries import slow_entries
    from nas_tf.search.problem import make_resources
    from nas_tf.space.search_space import find_space

    space = find_space(search.space).scaled(search.width_multiplier)
    table = load_table(search.latency_table, search.missing_latency)
    num_classes = open_config(search.data).num_classes
    table.check_fits(search.space, search.resolution, search.width_multiplier, num_classes)
    latency, *_ = make_resources(space, search.resolution, num_classes, table, search.budget)
    slow = {key for group in slow_entries(table) for key in group.times}
    offered = offered_candidates(space)
    fast = offered.copy()
    for block, choice in enumerate(space.choices(search.resolution)):
        fast[block, : len(choice.specs)] &= [spec.key not in slow for spec in choice.specs]
    # A block that has nothing else keeps its slow ones.
    fast = np.where(fast.any(axis=1, keepdims=True), fast, offered)
    return latency.range(fast)


def _forget_graphs() -> None:
    """Frees the graphs of a stage that has ended; a long-lived process would keep them all."""
    import tf_keras as keras

    keras.backend.clear_session()
    # Graphs and functions point at each other, so they are not freed when the last name goes.
    gc.collect()


def _report(workdir: str) -> str:
    from export.report_run import write_report

    return write_report(workdir)
