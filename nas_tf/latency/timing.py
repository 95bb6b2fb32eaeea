"""Timings of models: what a device offers, and how often it is asked until medians are steady."""

import dataclasses
import pathlib
import random
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from nas_tf.base.progress import Progress

Samples = dict[str, list[float]]


class Device(Protocol):
    """Something that runs `.tflite` models and says how long they took.

    Attributes:
      batch_size: how many models to ask for at once; what one call returns is kept even if
        the device is lost in the next.
    """

    batch_size: int

    def identity_fields(self) -> dict:
        """device, backend, runtime, kernels, num_threads and details (see `Identity`)."""

    def time_round(self, models: Mapping[str, pathlib.Path]) -> Samples:
        """One turn of each model, in this order; at least one timing in ms of each."""

    def use_kernels(self, kernels: str) -> None:
        """Runs models with these kernels from now on, instead of those that it was opened with."""

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
    # For a normal distribution σ = IQR / 1.349, and the median's error is √(π/2) · σ / √n with
    # √(π/2) = 1.2533.
    error = 1.2533 * (high - low) / 1.349 / np.sqrt(len(samples))
    return Timing(
        float(median),
        float(p90),
        float(high - low) / 2,
        len(samples),
        float(error / median) if median > 0 else 0.0,
    )


def time_models(
    device: Device,
    models: Mapping[str, pathlib.Path],
    config: TimingConfig,
    samples: Samples,
    after_batch: Callable[[int], None],
) -> None:
    """Times all models in interleaved passes until each median is steady.

    Args:
      samples: timings of each model in ms, added to in place; those of an earlier, interrupted
        run are taken into account.
      after_batch: called with the passes done, `num_rounds` at most.
    """
    for name in models:
        samples.setdefault(name, [])
    rounds = {name: len(samples[name]) for name in models}
    # With a seed: the order is random in itself, and the same in each run.
    order = random.Random(0)
    extra_since: float | None = None
    while True:
        pending = [name for name in models if rounds[name] < config.num_rounds]
        if not pending:
            extra_since = extra_since or time.monotonic()
            if time.monotonic() - extra_since > config.max_extra_seconds:
                return
            pending = [
                name
                for name in models
                if rounds[name] < config.max_rounds and summarize(samples[name]).error > config.max_error
            ]
        if not pending:
            return
        # A new order each time: no model always follows the same one through the caches.
        order.shuffle(pending)
        for start in range(0, len(pending), device.batch_size):
            batch = {name: models[name] for name in pending[start : start + device.batch_size]}
            for name, times in device.time_round(batch).items():
                samples[name] += times
                rounds[name] += 1
            after_batch(min([*rounds.values(), config.num_rounds]))


def time_with_progress(
    title: str,
    device: Device,
    models: Mapping[str, pathlib.Path],
    config: TimingConfig,
    samples: Samples | None = None,
    save: Callable[[Samples], None] | None = None,
) -> Samples:
    """`time_models` with its progress shown and `save(samples)` called after every batch."""
    samples = {} if samples is None else samples
    start = min((len(samples.get(name, [])) for name in models), default=0)
    with Progress(title, config.num_rounds, min(start, config.num_rounds)) as progress:

        def after_batch(done: int) -> None:
            if save:
                save(samples)
            errors = [summarize(times).error for times in samples.values() if times]
            progress.update(done, worst_error_percent=100 * max(errors))

        time_models(device, models, config, samples, after_batch)
    return samples
