"""The most multiply-adds that a space offers within the latency of a published network.

    python -m benchmarks.most_macs --folder=runs/most_macs

A latency table of each space is measured for each setting (or taken from `--folder`), with the entries of
the published network. The network with the most multiply-adds whose predicted latency is at most that of
the published one is found exactly, by the integer program that also derives searched networks. Then both
are timed in one interleaved run. Multiply-adds are no accuracy: this says what a runtime gives for its
time, and what a search has to choose from.
"""

import pathlib

import numpy as np
from absl import flags

from benchmarks.table_figures import most_macs
from flags import latency, paths
from nas_tf.base import cli, files
from nas_tf.latency.build import BuildConfig, build_table
from nas_tf.latency.devices import open_device
from nas_tf.latency.model_cache import ModelCache, network_name
from nas_tf.latency.table import LatencyTable
from nas_tf.latency.timing import time_with_progress, without_drift
from nas_tf.latency.whole_networks import stitched
from nas_tf.space.architecture import Architecture
from nas_tf.space.published import PUBLISHED
from nas_tf.space.search_space import SPACES

_FOLDER = paths.DEFINE_path("folder", None, "Where tables and models are kept.")
_SPACES = flags.DEFINE_list("spaces", ["full", "universal"], f"Of {', '.join(SPACES)}.")
# Table 1's three of MobileNetV2, and MobileNetV4-Conv-S at two resolutions.
_SETTINGS = flags.DEFINE_list(
    "settings",
    [
        "mobilenet_v2:224x0.5",
        "mobilenet_v2:192x0.75",
        "mobilenet_v2:160x1.0",
        "mobilenet_v4_conv_small:160x1.0",
        "mobilenet_v4_conv_small:224x1.0",
    ],
    "network:resolution x width multiplier.",
)
_CLASSES = 1000


def _table(space: str, resolution: int, width: float, also: tuple[str, ...]) -> LatencyTable:
    name = f"{space}_{resolution}_{width:g}.json"
    return build_table(
        BuildConfig(
            str(pathlib.Path(_FOLDER.value) / name),
            space,
            resolution,
            width,
            _CLASSES,
            cache_dir=_models(),
            device=latency.device_config(),
            timing=latency.timing_config(),
            also=also,
        )
    )


def _models() -> str:
    return str(pathlib.Path(_FOLDER.value) / "models")


def run(setting: str, also: tuple[str, ...]) -> dict:
    """Figures of one published network and of what each space offers at its latency."""
    name, _, shape = setting.partition(":")
    resolution, width = int(shape.partition("x")[0]), float(shape.partition("x")[2])
    reference = PUBLISHED[name].scaled(width)
    networks, predicted = {name: reference}, {}
    for space in _SPACES.value:
        table = _table(space, resolution, width, also)
        limit = table.predict_ms(reference, resolution, _CLASSES)
        networks[space] = most_macs(table, limit)
        # Of each table relative to its own prediction, since a machine's pace changes between tables.
        predicted[space] = table.predict_ms(networks[space], resolution, _CLASSES) / limit
    measured = _measure(list(networks.values()), resolution)
    facts = {}
    for label, network, time_ms in zip(networks, networks.values(), measured, strict=True):
        macs = network.macs(resolution, _CLASSES)
        facts[label] = {
            "measured_ms": time_ms,
            "measured_ratio": time_ms / measured[0],
            "predicted_ratio": predicted.get(label, 1.0),
            "million_macs": macs / 1e6,
            "macs_ratio": macs / reference.macs(resolution, _CLASSES),
            "architecture": network.to_string(),
        }
    return facts


def _measure(networks: list[Architecture], resolution: int) -> list[float]:
    """Medians in ms of one interleaved run."""
    cache, device = ModelCache(_models(), BuildConfig.dtype), open_device(latency.device_config())
    names = [network_name(network, resolution, _CLASSES) for network in networks]
    models = {
        name: stitched(cache, network, resolution, _CLASSES)
        for name, network in zip(names, networks, strict=True)
    }
    try:
        samples = without_drift(time_with_progress("measure", device, models, latency.timing_config()))
    finally:
        device.close()
    return [float(np.median(samples[name])) for name in names]


def main() -> None:
    """Prints a block of figures for every setting."""
    settings = _SETTINGS.value
    figures = {}
    for setting in settings:
        shape = setting.partition(":")[2]
        # One table serves all networks of its resolution and width.
        also = tuple(sorted({s.partition(":")[0] for s in settings if s.endswith(f":{shape}")}))
        figures[setting] = run(setting, also)
        for label, facts in figures[setting].items():
            cli.print_facts(f"{setting}, {label}", facts)
    files.write_json(pathlib.Path(_FOLDER.value) / "most_macs.json", figures)


if __name__ == "__main__":
    flags.mark_flag_as_required("folder")
    cli.run(main)
