"""Timings of models: what a device offers, and how often it is asked until medians are steady."""

import dataclasses
import pathlib
import random
import time
from typing import Callable, Mapping, Protocol

import numpy as np

Samples = dict[str, list[float]]


class Device(Protocol):
    """Something that runs `.tflite` models and says how long they took."""

    def identity_fields(self) -> dict:
        """device, backend, runtime, kernels, num_threads and details (see `Identity`)."""

    def time_round(self, models: Mapping[str, pathlib.Path]) -> Samples:
        """One pass over the models, in this order; at least one timing in ms of each."""

    def close(self) -> None:
        """Leaves the device as it was found."""


@dataclasses.dataclass(frozen=True)
class TimingConfig:
    """How long to measure.

    Attributes:
      num_rounds: passes over all models; one model's timings are spread over them, so that a
        busy or a hot minute touches all models alike.
      max_error: a model is timed again until the standard error of its median is at most this
        share of the median.
      max_rounds: then a model still above `max_error` is called unsteady; also
      max_extra_seconds: spent on passes beyond `num_rounds`.
    """

    num_rounds: int = 50
    max_error: float = 0.01
    max_rounds: int = 1000
    max_extra_seconds: float = 30.0


@dataclasses.dataclass(frozen=True)
class Timing:
    """Latency of one model in milliseconds.

    Attributes:
      spread_ms: half the distance between the quartiles; a few slow outliers do not move it.
      error: standard error of the median as a share of the median.
    """

    median_ms: float
    p90_ms: float
    spread_ms: float
    runs: int
    error: float


def summarize(samples: list[float]) -> Timing:
    """Robust statistics of one model's timings in ms, which must not be empty."""
    low, median, high, p90 = np.percentile(samples, (25, 50, 75, 90))
    # For a normal distribution σ = IQR / 1.349 and the median's error is 1.2533 σ / √n.
    error = 1.2533 * (high - low) / 1.349 / np.sqrt(len(samples))
    return Timing(float(median), float(p90), float(high - low) / 2, len(samples),
                  float(error / median) if median > 0 else 0.0)


def time_models(device: Device, models: Mapping[str, pathlib.Path], config: TimingConfig,
                samples: Samples | None = None,
                after_round: Callable[[int, int, Samples], None] | None = None) -> Samples:
    """Times all models in interleaved passes until each median is steady.

    Args:
      samples: timings of an earlier, interrupted run; taken into account and added to.
      after_round: called with (rounds done, rounds to come at most, samples so far).

    Returns:
      Every model's timings in ms.
    """
    samples = {name: list((samples or {}).get(name, [])) for name in models}
    rounds = {name: len(times) for name, times in samples.items()}
    order = random.Random(0)
    extra_since = None
    while True:
        pending = [name for name in models if rounds[name] < config.num_rounds]
        if not pending:
            extra_since = extra_since or time.monotonic()
            if time.monotonic() - extra_since > config.max_extra_seconds:
                return samples
            pending = [name for name in models if rounds[name] < config.max_rounds
                       and summarize(samples[name]).error > config.max_error]
        if not pending:
            return samples
        # A new order each time: no model always follows the same one through the caches.
        order.shuffle(pending)
        for name, times in device.time_round({n: models[n] for n in pending}).items():
            samples[name] += times
            rounds[name] += 1
        if after_round:
            done = min(rounds.values())
            after_round(done, max(config.num_rounds - done, 0), samples)
