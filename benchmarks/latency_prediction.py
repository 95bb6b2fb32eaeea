"""How well sums of table entries predict whole networks on this machine.

    python -m benchmarks.latency_prediction --cache_dir=runs/models --output_json=runs/latency.json

For each of (resolution, width multiplier) = (160, 1.0) and (224, 0.5): entries, random networks
to judge by and other random networks to fit the correction on are timed in one interleaved
run, so that a slow minute of the machine touches all alike. Converting the whole networks
takes most of the time and is done once for a `--cache_dir` (`--only_convert` does that alone).
"""

import dataclasses
import time

from absl import flags

from flags import latency, paths
from nas_tf.base import cli, files
from nas_tf.base.errors import require
from nas_tf.latency import accuracy
from nas_tf.latency.build import BuildConfig, assemble, identify
from nas_tf.latency.devices import open_device
from nas_tf.latency.model_cache import ModelCache, layer_builders, network_builders
from nas_tf.latency.prediction_plot import save_plot
from nas_tf.latency.timing import time_with_progress, without_drift
from nas_tf.space.search_space import find_space

# Those of the two ProxylessNAS networks in the paper's Table 1.
_SETTINGS = flags.DEFINE_list("settings", ["160x1.0", "224x0.5"], "resolution x width multiplier.")
_NUM_NETWORKS = flags.DEFINE_integer("num_networks", 32, "Networks to judge by.", lower_bound=3)
_NUM_FIT = flags.DEFINE_integer("num_fit", 8, "Other networks to fit on.", lower_bound=3)
_CACHE = paths.DEFINE_path("cache_dir", None, "Folder of converted models.")
_ONLY_CONVERT = flags.DEFINE_boolean("only_convert", False, "Fill the cache and stop.")
_OUTPUT = paths.DEFINE_path("output_json", "", "Also write the figures, and plots beside.")


def run(resolution: int, width_multiplier: float) -> dict:
    """Figures of one setting."""
    config = BuildConfig(
        "",
        "full",
        resolution,
        width_multiplier,
        dtype=latency.DTYPE.value,
        device=latency.device_config(),
        timing=latency.timing_config(),
    )
    space = find_space("full").scaled(width_multiplier)
    judged = accuracy.random_architectures(space, _NUM_NETWORKS.value, seed=1)
    # None of those judged by: on the networks that it was fitted to, a correction looks better than it is.
    fitted_on = accuracy.random_architectures(space, _NUM_FIT.value, seed=2, other_than=judged)
    layers = layer_builders(space.latency_specs(resolution, config.num_classes).values())
    cache = ModelCache(_CACHE.value, config.dtype)
    models = cache.convert(layers | network_builders([*judged, *fitted_on], resolution, config.num_classes))
    if _ONLY_CONVERT.value:
        return {}
    # Time from here on: conversion would be most of it.
    device, began = open_device(config.device), time.monotonic()
    samples = without_drift(time_with_progress("measure", device, models, config.timing))
    table = assemble(identify(config, device), {n: samples[n] for n in layers}, config.timing)
    fit = accuracy.measured_networks(fitted_on, table, samples)
    judge = accuracy.measured_networks(judged, table, samples)
    corrected = dataclasses.replace(table, correction=accuracy.fit_correction(table, fit))
    if _OUTPUT.value:
        save_plot(f"{_OUTPUT.value}.{resolution}x{width_multiplier}.svg", corrected, judge)
    return {
        "kernels": table.identity.kernels,
        "uncorrected": accuracy.report(table, judge),
        "corrected": accuracy.report(corrected, judge),
        "scale": corrected.correction.scale,
        "measuring_seconds": time.monotonic() - began,
        "unsteady_entries": sum(e.unsteady for e in table.entries.values()),
        "slowest_ms": max(n.median_ms for n in judge),
        "fastest_ms": min(n.median_ms for n in judge),
    }


def main() -> None:
    """Prints the figures of every setting."""
    figures = {}
    for setting in _SETTINGS.value:
        resolution, _, width = setting.partition("x")
        require(
            resolution.isdigit() and width.replace(".", "", 1).isdigit(),
            f"--settings={setting!r} must be like 160x1.0.",
        )
        figures[setting] = run(int(resolution), float(width))
        for name, value in figures[setting].items():
            cli.print_facts(f"{setting} {name}", value if isinstance(value, dict) else {"": value})
    if _OUTPUT.value and not _ONLY_CONVERT.value:
        files.write_json(_OUTPUT.value, figures)


if __name__ == "__main__":
    flags.mark_flag_as_required("cache_dir")
    cli.run(main)
