"""Whole networks as models, and what they take on a table's device at the pace of its measurement."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from nas_tf.base import files
from nas_tf.base.errors import require
from nas_tf.latency.model_cache import EMPTY, ModelCache, layer_builders, network_builders, network_name
from nas_tf.latency.stitch import stitch
from nas_tf.latency.table import LatencyTable
from nas_tf.latency.timing import (
    Device,
    Samples,
    TimingConfig,
    summarize,
    time_with_progress,
    without_drift,
)
from nas_tf.space.architecture import Architecture, from_string

# Networks, or else entries, whose timing tells the machine's pace.
_LEAST_ANCHORS, _ANCHORS = 3, 24


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
      as then what was timed for the table takes now, None where its models are not in the cache).

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
    pace = _pace(table, {name: samples[name] for name in anchors})
    return measured_networks(architectures, table, samples, pace or 1.0), pace


def _anchors(table: LatencyTable, cache_dir: str) -> dict[str, pathlib.Path]:
    """What was timed for the table and tells the machine's pace now: its networks, or its entries."""
    cache, own = ModelCache(cache_dir, table.identity.dtype), table.identity
    there = {key for key in (EMPTY, *table.entries) if cache.path(key).exists()}
    networks = map(from_string, table.correction.fitted_on if table.correction.fitted_ms else ())
    found = {
        network_name(n, own.resolution, own.num_classes): stitched(cache, n, own.resolution, own.num_classes)
        for n in networks
        if there.issuperset(n.latency_keys(own.resolution, own.num_classes))
    }
    if len(found) >= _LEAST_ANCHORS or EMPTY not in there:
        return found
    # The smaller half is hard to tell from the noise.
    ordered = sorted(there - {EMPTY}, key=lambda key: table.entries[key].median_ms)
    larger = ordered[len(ordered) // 2 :]
    return {name: cache.path(name) for name in (EMPTY, *larger[:: -(-len(larger) // _ANCHORS) or 1])}


def _pace(table: LatencyTable, samples: Samples) -> float | None:
    """median over the anchors of (time now / time then), for entries without the empty graph."""
    if not samples:
        return None
    correction, own = table.correction, table.identity
    then = {
        network_name(from_string(text), own.resolution, own.num_classes): value
        for text, value in zip(correction.fitted_on, correction.fitted_ms, strict=False)
    }
    medians = {name: float(np.median(times)) for name, times in samples.items()}
    empty = medians.pop(EMPTY, 0.0)
    return float(
        np.median(
            [
                now / then[name] if name in then else (now - empty) / table.entries[name].median_ms
                for name, now in medians.items()
            ]
        )
    )


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
