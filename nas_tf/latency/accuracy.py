"""How well a table predicts whole networks, and the correction that makes it predict better."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from nas_tf.base import files
from nas_tf.base.errors import require
from nas_tf.latency.entries import Correction
from nas_tf.latency.model_cache import EMPTY, ModelCache, layer_builders, network_builders, network_name
from nas_tf.latency.random_networks import architectures_within, band_of, random_architectures
from nas_tf.latency.stitch import stitch
from nas_tf.latency.table import LatencyTable
from nas_tf.latency.timing import Device, Samples, TimingConfig, summarize, time_with_progress, without_drift
from nas_tf.space.architecture import Architecture, from_string
from nas_tf.space.search_space import SearchSpace, find_space

# Of the random networks that a table is corrected and judged by when it is built.
BUILD_SEED = 0
_ANCHORS = 24  # entries whose timing tells the machine's pace


@dataclasses.dataclass(frozen=True)
class Measured:
    """A whole network's latency.

    Attributes:
      halves_ms: medians of its even and of its odd timings, which a busy minute touches alike; how
        far they differ is what no prediction can be better than.
    """

    architecture: Architecture
    median_ms: float
    halves_ms: tuple[float, float]


def network_models(
    architectures: Sequence[Architecture], table: LatencyTable, cache_dir: str, joined: bool
) -> dict[str, pathlib.Path]:
    """Whole networks as `.tflite` files of the table's kind, by `network_name`.

    Args:
      joined: put them together from the models of their layers instead of converting them.
    """
    shape = (table.identity.resolution, table.identity.num_classes)
    cache = ModelCache(cache_dir, table.identity.dtype)
    if not joined:
        return cache.convert(network_builders(architectures, *shape))
    cache.convert(layer_builders(layer for a in architectures for layer in a.layers(*shape)))
    return {network_name(a, *shape): stitched(cache, a, *shape) for a in architectures}


def stitched(
    cache: ModelCache,
    architecture: Architecture,
    resolution: int,
    num_classes: int,
) -> pathlib.Path:
    """A whole network joined from the cache's models of its layers, which must be there."""
    path = cache.path(f"stitched {network_name(architecture, resolution, num_classes)}")
    if not path.exists():
        keys = architecture.latency_keys(resolution, num_classes)
        files.write_bytes(path, stitch([cache.path(key) for key in keys]))
    return path


def measure_networks(
    architectures: Sequence[Architecture],
    table: LatencyTable,
    device: Device,
    timing: TimingConfig,
    cache_dir: str,
    joined: bool,
) -> tuple[list[Measured], float | None]:
    """Times whole networks on the table's device; see `network_models`.

    Returns:
      (the networks, at the pace of the machine when the table was measured; how many times as long
      as then the table's entries take now, None where their models are not in the cache).

    Raises:
      UserError: the device is not the one that the table was measured on.
    """
    differing = [
        f"{name} {getattr(table.identity, name)} there, {value} here"
        for name, value in device.identity_fields().items()
        if name != "details" and getattr(table.identity, name) != value
    ]
    require(
        not differing,
        f"The latency table {table.path!r} is of another device or runtime: {'; '.join(differing)}.",
    )
    models = network_models(architectures, table, cache_dir, joined)
    anchors = _anchors(table, cache_dir)
    samples = time_with_progress("whole networks: measure", device, models | anchors, timing)
    samples = without_drift(samples)
    pace = _pace(table, {name: samples[name] for name in anchors}) if anchors else None
    return measured_networks(architectures, table, samples, pace or 1.0), pace


def _anchors(table: LatencyTable, cache_dir: str) -> dict[str, pathlib.Path]:
    """Models of the empty graph and of entries of all sizes, as far as they are there."""
    cache = ModelCache(cache_dir, table.identity.dtype)
    ordered = sorted(table.entries, key=lambda key: table.entries[key].median_ms)
    there = [key for key in ordered if cache.path(key).exists()]
    if not there or not cache.path(EMPTY).exists():
        return {}
    # The smaller half is hard to tell from the noise.
    larger = there[len(there) // 2 :]
    chosen = larger[:: -(-len(larger) // _ANCHORS)]
    return {name: cache.path(name) for name in (EMPTY, *chosen)}


def _pace(table: LatencyTable, samples: Samples) -> float:
    """median over the anchors of (time now − empty graph now) / entry."""
    empty = float(np.median(samples[EMPTY]))
    ratios = [
        (float(np.median(times)) - empty) / table.entries[key].median_ms
        for key, times in samples.items()
        if key != EMPTY
    ]
    return float(np.median(ratios))


def measured_networks(
    architectures: Sequence[Architecture], table: LatencyTable, samples: Samples, pace: float = 1.0
) -> list[Measured]:
    """The networks' medians from timings by `network_name`, which take `pace` times as long as then."""
    own, found = table.identity, []
    for architecture in architectures:
        name = network_name(architecture, own.resolution, own.num_classes)
        times = [value / pace for value in samples[name]]
        halves = (float(np.median(times[::2])), float(np.median(times[1::2])))
        found.append(Measured(architecture, summarize(times).median_ms, halves))
    return found


def predictions_ms(table: LatencyTable, networks: Sequence[Measured]) -> np.ndarray:
    """What the table says of each network, [len(networks)] in ms."""
    own = table.identity
    return np.array(
        [table.predict_ms(network.architecture, own.resolution, own.num_classes) for network in networks]
    )


def prediction_error(predicted_ms: np.ndarray, measured_ms: np.ndarray) -> dict[str, float]:
    """Agreement of predictions with measurements.

    Returns:
      `mape_percent`, mean of |predicted / measured − 1|; `bias_percent`, the same with its sign;
      `worst_percent`; `within_5_percent` and `within_10_percent`, shares in per cent;
      `spearman`, rank correlation.
    """
    from scipy.stats import spearmanr

    relative = predicted_ms / measured_ms - 1
    return {
        "networks": len(relative),
        "mape_percent": float(100 * np.abs(relative).mean()),
        "bias_percent": float(100 * relative.mean()),
        "worst_percent": float(100 * np.abs(relative).max()),
        "within_5_percent": float(100 * (np.abs(relative) <= 0.05).mean()),
        "within_10_percent": float(100 * (np.abs(relative) <= 0.10).mean()),
        "spearman": float(spearmanr(predicted_ms, measured_ms).statistic),
    }


def noise_floor_percent(networks: Sequence[Measured]) -> float:
    """Mean difference of a network's two halves, in per cent: the measurement against itself."""
    first, second = np.array([network.halves_ms for network in networks]).T
    return float(100 * np.abs(first / second - 1).mean())


def fit_correction(table: LatencyTable, networks: Sequence[Measured]) -> Correction:
    """The one factor on all entries that makes them sum to these whole networks.

        scale = median((measured − baseline) / Σ entries)

    No intercept, because random networks hardly determine one.

    Raises:
      UserError: fewer than three networks.
    """
    # Of fewer, one disturbed network would move the median.
    require(len(networks) >= 3, f"A correction needs 3 networks or more, not {len(networks)}.")
    # From the entries as they were measured: a new factor is not built upon an older one.
    plain = dataclasses.replace(table, correction=Correction())
    sums = predictions_ms(plain, networks) - plain.baseline_ms
    measured = np.array([network.median_ms for network in networks]) - plain.baseline_ms
    return Correction(
        float(np.median(measured / sums)),
        0.0,
        len(networks),
        tuple(network.architecture.to_string() for network in networks),
    )


def report(table: LatencyTable, networks: Sequence[Measured]) -> dict[str, Any]:
    """Error of the table as it is on these networks, with the noise floor beside it."""
    measured = np.array([network.median_ms for network in networks])
    return {
        **prediction_error(predictions_ms(table, networks), measured),
        "noise_floor_percent": noise_floor_percent(networks),
    }


def check_table(
    table: LatencyTable,
    device: Device,
    timing: TimingConfig,
    cache_dir: str,
    num_networks: int,
    num_fit: int,
    seed: int,
    joined: bool = False,
    budget_ms: float = 0.0,
    named: Sequence[Architecture] = (),
) -> tuple[dict[str, Any], LatencyTable, list[Measured]]:
    """Measures random networks of the table's space and compares.

    Args:
      num_networks: random networks to judge by.
      num_fit: others to fit a correction on; 0 for none.
      joined: see `network_models`.
      budget_ms: random networks are predicted to take half of it to twice as much; 0: see
        `random_networks.band_of`.
      named: further networks, each compared by itself; the table has to have their entries.

    No network is judged by that the table's correction was fitted on.

    Returns:
      (facts `as_it_is`, with `num_fit` also `uncorrected` and `corrected`, with `named` also
      `networks`; the table, with the correction fitted here and its error if there is one; the
      random networks judged by). `pace` in `as_it_is` says how many times as long as in the table
      its entries take now; networks are compared without it, since a machine's speed changes from
      hour to hour.

    Raises:
      UserError: a published table, whose device is not here, a device that differs, or too few
        networks around the budget.
    """
    require(
        bool(table.identity.space) and table.identity.backend != "published",
        f"The latency table {table.path!r} does not say what it was measured on, so it "
        "cannot be checked here.",
    )
    space = find_space(table.identity.space).scaled(table.identity.width_multiplier)
    known = _fitted_before(table, space)
    band = band_of(space, table, budget_ms)
    # Networks to judge by are drawn first, so that they are the same with and without a fit.
    judged = architectures_within(space, table, band, num_networks, seed, other_than=known)
    fitted_on = architectures_within(space, table, band, num_fit, seed + 1, other_than=[*known, *judged])
    require(
        len(judged) + len(fitted_on) == num_networks + num_fit,
        f"Of {num_networks + num_fit} networks that take {band.low_ms:.4g} to {band.high_ms:.4g} ms, only "
        f"{len(judged) + len(fitted_on)} were found in the space {space.name!r}; ask for fewer.",
    )
    every = [*judged, *fitted_on, *named]
    networks, pace = measure_networks(every, table, device, timing, cache_dir, joined)
    judge, fit = networks[:num_networks], networks[num_networks : num_networks + num_fit]
    facts: dict[str, Any] = {"as_it_is": report(table, judge)}
    if pace is not None:
        facts["as_it_is"]["pace"] = pace
    if not table.correction.known_networks:
        facts["as_it_is"]["note"] = (
            "the table does not say which networks its correction was fitted on; they may be among these"
        )
    if fit:
        plain = dataclasses.replace(table, correction=Correction())
        table = dataclasses.replace(table, correction=fit_correction(table, fit))
        # The error in the file is that of the correction in the file, never of an older one.
        table = dataclasses.replace(table, prediction_error=report(table, judge))
        facts |= {
            "uncorrected": report(plain, judge),
            "corrected": table.prediction_error,
            "correction": table.correction.figures(),
        }
    if named:
        facts["networks"] = _compared(table, networks[num_networks + num_fit :])
    return facts, table, judge


def _compared(table: LatencyTable, networks: Sequence[Measured]) -> dict[str, str]:
    """What is predicted and measured of each network, by its name."""
    return {
        network.architecture.name or network.architecture.to_string(): (
            f"predicted {predicted:.4g} ms, measured {network.median_ms:.4g} ms "
            f"({100 * (predicted / network.median_ms - 1):+.2f} %)"
        )
        for network, predicted in zip(networks, predictions_ms(table, networks), strict=True)
    }


def _fitted_before(table: LatencyTable, space: SearchSpace) -> list[Architecture]:
    """Networks of the space that the table's correction was fitted on.

    A table that does not say so got its correction with the seed of `build_table`, as far as
    can be known; all that were drawn there are left out.
    """
    correction = table.correction
    # Twice as many, because `build_table` fits on every other network that it draws; at most half of
    # the space, so that some are left to judge by.
    if correction.known_networks:
        return [from_string(text) for text in correction.fitted_on]
    return random_architectures(space, min(2 * correction.networks, space.size() // 2), BUILD_SEED)
