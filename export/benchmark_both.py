"""Timing one file with TFLite's built-in kernels and with XNNPACK in turns: which is faster, by how much."""

import dataclasses
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from export.benchmark_run import BenchmarkConfig, as_tflite, timing_facts
from nas_tf.base.clock import Clock
from nas_tf.base.errors import require
from nas_tf.base.interpreter import KERNELS
from nas_tf.base.run_folder import RunFolder
from nas_tf.latency.devices import open_device
from nas_tf.latency.host import HostConfig, require_model_file
from nas_tf.latency.timing import Device, Samples, TimingConfig, summarize, time_with_progress

CONFIDENCE = 0.95
# Of fewer pairs, not even the smallest and the largest ratio enclose the median that surely.
_MIN_ROUNDS = 6


class _InTurns:
    """A device on which a model's name says which kernels run it."""

    batch_size = len(KERNELS)

    def __init__(self, device: Device):
        self._device = device

    def identity_fields(self) -> dict[str, Any]:
        """Of the device, without the kernels that ran last."""
        return {name: value for name, value in self._device.identity_fields().items() if name != "kernels"}

    def time_round(self, models: Mapping[str, pathlib.Path]) -> Samples:
        """One turn with each kernels."""
        samples = {}
        for kernels, path in models.items():
            self._device.use_kernels(kernels)
            samples |= self._device.time_round({kernels: path})
        return samples

    def close(self) -> None:
        """Leaves the device as it was found."""
        self._device.close()


def benchmark_both(workdir: str, config: BenchmarkConfig) -> dict[str, Any]:
    """Times a model with both kernels, one after the other in each round; writes nothing.

    Args:
      workdir: whose converted file is meant if `config.model` is "".

    Returns:
      The summary: `model`; for each of `KERNELS` a dict of its `median_ms`, `spread_ms`, `runs`, …;
      `ratio`, the median over rounds of the time with built-in kernels over that with XNNPACK, and
      `ratio_interval`, [low, high], which holds the true median with probability `confidence`;
      `faster`, one of `KERNELS`, or "" where 1 is in the interval; and what it ran on.

    Raises:
      UserError: no such model, or a device that cannot be used.
    """
    model = pathlib.Path(config.model or RunFolder(workdir).int8_file)
    require(model.exists(), f"There is no model {str(model)!r} to time.")
    clock = Clock()
    device = _InTurns(open_device(warm(config)))
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = as_tflite(model, pathlib.Path(folder))
            require_model_file(path)
            timing = paired_rounds(config.timing)
            samples = time_with_progress(
                "benchmark: both kernels", device, dict.fromkeys(KERNELS, path), timing
            )
        identity = device.identity_fields()
    finally:
        device.close()
    figures = {k: timing_facts(summarize(samples[k]), config.timing, identity["backend"]) for k in KERNELS}
    compared = compare(samples["builtin"], samples["xnnpack"])
    return {"model": str(model), **figures, **compared, **identity, "seconds": clock.seconds()}


def compare(builtin: Sequence[float], xnnpack: Sequence[float]) -> dict[str, Any]:
    """`ratio` and what belongs to it, from times in ms of which those of one index are of one round."""
    ratios = np.array(builtin) / np.array(xnnpack)
    low, high, confidence = median_interval(ratios)
    return {
        "ratio": float(np.median(ratios)),
        "ratio_interval": [low, high],
        "confidence": confidence,
        "faster": "xnnpack" if low > 1 else "builtin" if high < 1 else "",
    }


def median_interval(values: np.ndarray) -> tuple[float, float, float]:
    """(low, high, probability) of an interval for the median, whatever the distribution.

    [x_(k), x_(n+1−k)] of the ordered values holds the median with probability
    1 − 2 · P(Binomial(n, 1/2) < k); k is the largest with at least `CONFIDENCE`, or 1.
    """
    from scipy.stats import binom

    ordered, count = np.sort(values), len(values)
    k = max(1, int(binom.ppf((1 - CONFIDENCE) / 2, count, 0.5)))
    held = 1 - 2 * float(binom.cdf(k - 1, count, 0.5))
    return float(ordered[k - 1]), float(ordered[count - k]), held


def facts_for_both(summary: dict[str, Any]) -> dict[str, Any]:
    """What to print of a summary."""
    times = {
        f"{kernels} kernels": f"{summary[kernels]['median_ms']:.4g} ms, median of {summary[kernels]['runs']}"
        for kernels in KERNELS
    }
    return {
        "model": summary["model"],
        **times,
        "faster": _verdict(summary),
        "device": f"{summary['device']}, {summary['num_threads']} thread(s)",
        "runtime": summary["runtime"],
    }


def _verdict(summary: dict[str, Any]) -> str:
    low, high = summary["ratio_interval"]
    surely = f"{100 * summary['confidence']:.0f} % interval"
    if not summary["faster"]:
        return (
            f"neither: builtin takes {summary['ratio']:.3g} times as long as xnnpack, "
            f"{surely} {low:.3g} to {high:.3g}"
        )
    ratio = summary["ratio"]
    if summary["faster"] == "builtin":
        ratio, low, high = 1 / ratio, 1 / high, 1 / low
    return f"{summary['faster']}, {ratio:.3g} times as fast ({surely} {low:.3g} to {high:.3g})"


def warm(config: BenchmarkConfig) -> Any:
    """On this machine a second run at each turn at least: the first finds the caches full of the other's."""
    device = config.device
    if isinstance(device, HostConfig):
        return dataclasses.replace(device, invokes=max(2, device.invokes))
    return device


def paired_rounds(timing: TimingConfig) -> TimingConfig:
    """As many for both, so that every round is a pair."""
    rounds = max(_MIN_ROUNDS, timing.num_rounds)
    return TimingConfig(rounds, timing.max_error, max_rounds=rounds, max_extra_seconds=0.0)
