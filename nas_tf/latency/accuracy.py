"""How well a table predicts whole networks, as it is and with a new correction."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from nas_tf.base.errors import require
from nas_tf.latency.correction import fit_correction
from nas_tf.latency.entries import Correction
from nas_tf.latency.random_networks import architectures_within, band_of, random_architectures
from nas_tf.latency.table import LatencyTable
from nas_tf.latency.timing import Device, TimingConfig
from nas_tf.latency.whole_networks import Measured, measure_networks
from nas_tf.space.architecture import Architecture, from_string
from nas_tf.space.search_space import SearchSpace, find_space

# Of the random networks that a table is corrected and judged by when it is built.
BUILD_SEED = 0


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


def report(table: LatencyTable, networks: Sequence[Measured]) -> dict[str, Any]:
    """Error of the table as it is on these networks, with the noise floor and their range beside it."""
    measured = np.array([network.median_ms for network in networks])
    return {
        **prediction_error(predictions_ms(table, networks), measured),
        "noise_floor_percent": noise_floor_percent(networks),
        "fastest_ms": float(measured.min()),
        "slowest_ms": float(measured.max()),
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
      random networks judged by). `pace` in `as_it_is` says how many times as long as then what
      was timed for the table takes now; networks are compared without it, since a machine's speed
      changes from hour to hour.

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
