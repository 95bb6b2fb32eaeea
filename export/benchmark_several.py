"""Timing several models in turns on one device: how much slower or faster each is than the first."""

import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from export.benchmark_both import median_interval, paired_rounds, warm
from export.benchmark_run import BenchmarkConfig, as_tflite, timing_facts
from nas_tf.base.clock import Clock
from nas_tf.base.errors import require
from nas_tf.latency.devices import open_device
from nas_tf.latency.host import require_model_file
from nas_tf.latency.timing import TimingConfig, summarize, time_with_progress


def benchmark_several(models: Sequence[str], config: BenchmarkConfig) -> dict[str, Any]:
    """Times models, all of them once in each round, in an order that changes; writes nothing.

    Args:
      models: `.tflite` files or model folders; the first is what the others are compared with.
      config: its `model` is not looked at.

    Returns:
      The summary, with the same keys on this machine and on a phone: `models`, for each a dict of its
      `model`, `median_ms`, `p90_ms` (None on a phone, whose timings are medians of turns), `spread_ms`,
      `runs`, `steady`, `ratio` (median over rounds of its time over the first's), `ratio_interval`, and
      `verdict`, "faster" or "slower" than the first, or "" where 1 is in the interval; `confidence`, the
      probability with which an interval holds its median; and what it ran on.

    Raises:
      UserError: no such model, a model named twice, or a device that cannot be used.
    """
    for model in models:
        require(pathlib.Path(model).exists(), f"There is no model {model!r} to time.")
        require(list(models).count(model) == 1, f"--model={model!r} is given twice; each is timed once.")
    clock = Clock()
    device = open_device(warm(config))
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = {str(i): _file(model, pathlib.Path(folder) / str(i)) for i, model in enumerate(models)}
            title = f"benchmark: {len(models)} models"
            samples = time_with_progress(title, device, files, paired_rounds(config.timing))
        identity = device.identity_fields()
    finally:
        device.close()
    times = [samples[str(i)] for i in range(len(models))]
    rows = [
        {"model": str(model)} | row
        for model, row in zip(models, compare(times, config.timing, identity["backend"]), strict=True)
    ]
    confidence = median_interval(np.array(times[0]))[2]
    return {"models": rows, "confidence": confidence, **identity, "seconds": clock.seconds()}


def compare(times: Sequence[Sequence[float]], timing: TimingConfig, backend: str) -> list[dict[str, Any]]:
    """What `models` holds of each, from times in ms of which those of one index are of one round."""
    rows = []
    for own in times:
        # Within a round, so that a slow minute is in both and leaves their ratio.
        ratios = np.array(own) / np.array(times[0])
        low, high, _ = median_interval(ratios)
        rows.append(
            {"p90_ms": None}
            | timing_facts(summarize(list(own)), timing, backend)
            | {
                "ratio": float(np.median(ratios)),
                "ratio_interval": [low, high],
                "verdict": "slower" if low > 1 else "faster" if high < 1 else "",
            }
        )
    return rows


def facts_for_several(summary: dict[str, Any]) -> dict[str, Any]:
    """What to print of a summary."""
    first, *others = summary["models"]
    facts = {first["model"]: _time(first)}
    surely = f"{100 * summary['confidence']:.0f} % interval"
    for row in others:
        low, high = row["ratio_interval"]
        verdict = row["verdict"] or "no difference beyond the noise"
        facts[row["model"]] = (
            f"{_time(row)}; {row['ratio']:.3g} times the first ({surely} {low:.3g} to {high:.3g}): {verdict}"
        )
    return facts | {
        "device": f"{summary['device']}, {summary['num_threads']} thread(s)",
        "runtime": f"{summary['runtime']}, {summary['kernels']} kernels",
    }


def _time(row: dict[str, Any]) -> str:
    return f"{row['median_ms']:.4g} ms, median of {row['runs']}"


def _file(model: str, folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir()
    path = as_tflite(pathlib.Path(model), folder)
    require_model_file(path)
    return path
