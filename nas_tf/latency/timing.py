"""Timings of models: what a device offers, and how often it is asked until medians are steady."""

import dataclasses
import math
import pathlib
import random
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from nas_tf.base.progress import Progress

Samples = dict[str, list[float]]
_DRIFT_MODELS = 8
_POLISHES = 10  # the pace no longer changes after three or four


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
      max_error: further passes follow until the standard error of every median is at most this
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


def without_drift(samples: Samples) -> Samples:
    """Timings as they would be had the machine kept one pace; as they are, of few models.

    A machine is now faster, now slower by a third: other tenants, a clock that follows the heat. What
    all models of one pass share is that pace, since each pass times all of them:

        log t(model, pass) = a(model) + b(pass) + noise

    with medians for a and b (Tukey's median polish, 1977), the median b being 0.

    Args:
      samples: of each model as many timings, the i-th of all of them of one pass.
    """
    # A pace found from few models is those models themselves.
    if len(samples) < _DRIFT_MODELS:
        return samples
    shortest = min(map(len, samples.values()))
    logs = np.log([times[:shortest] for times in samples.values()])
    own, pace = np.median(logs, axis=1, keepdims=True), np.zeros((1, shortest))
    for _ in range(_POLISHES):
        pace = np.median(logs - own, axis=0, keepdims=True)
        pace -= np.median(pace)
        own = np.median(logs - pace, axis=1, keepdims=True)
    return dict(zip(samples, np.exp(logs - pace).tolist(), strict=True))


def time_models(
    device: Device,
    models: Mapping[str, pathlib.Path],
    config: TimingConfig,
    samples: Samples,
    after_batch: Callable[[int, float], None],
) -> None:
    """Times all models in interleaved passes until each median is steady.

    A pass times all of them, also where only some still spread: what they share in it is the
    machine's pace (`without_drift`).

    Args:
      samples: timings of each model in ms, added to in place; those of an earlier, interrupted
        run are taken into account.
      after_batch: called with the passes done, `num_rounds` at most, and the largest error of a
        median after the last whole pass.
    """
    for name in models:
        samples.setdefault(name, [])
    # With a seed: the order is random in itself, and the same in each run.
    order, worst = random.Random(0), math.inf
    extra_since: float | None = None
    while True:
        done = min(len(samples[name]) for name in models)
        # Those that an interrupted run timed in this pass are ahead already.
        pending = [name for name in models if len(samples[name]) == done]
        if len(pending) == len(models) and done:
            worst = _worst_error({name: samples[name] for name in models})
        if done >= config.num_rounds:
            extra_since = extra_since or time.monotonic()
            late = time.monotonic() - extra_since > config.max_extra_seconds
            if late or done >= config.max_rounds or worst <= config.max_error:
                return
        # A new order each time: no model always follows the same one through the caches.
        order.shuffle(pending)
        for start in range(0, len(pending), device.batch_size):
            batch = {name: models[name] for name in pending[start : start + device.batch_size]}
            for name, times in device.time_round(batch).items():
                samples[name] += times
            after_batch(min(*(len(samples[name]) for name in models), config.num_rounds), worst)


def _worst_error(samples: Samples) -> float:
    return max(summarize(times).error for times in without_drift(samples).values())


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

        def after_batch(done: int, worst_error: float) -> None:
            if save:
                save(samples)
            shown = {"worst_error_percent": 100 * worst_error} if math.isfinite(worst_error) else {}
            progress.update(done, **shown)

        time_models(device, models, config, samples, after_batch)
    return samples
