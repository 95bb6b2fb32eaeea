"""Building a latency table: one small model for each entry, minus what an empty graph takes."""

import dataclasses
import pathlib

from nas_tf.base import files
from nas_tf.base.errors import require
from nas_tf.latency.accuracy import (
    BUILD_SEED,
    Measured,
    fit_correction,
    measured_networks,
    random_architectures,
    report,
    stitched,
)
from nas_tf.latency.devices import DeviceConfig, HostConfig, open_device
from nas_tf.latency.entries import Entry, Identity
from nas_tf.latency.model_cache import EMPTY, ModelCache, layer_builders, network_name
from nas_tf.latency.partial import PartialTable
from nas_tf.latency.table import LatencyTable, load_table, save_table
from nas_tf.latency.timing import Device, Samples, TimingConfig, summarize, time_with_progress
from nas_tf.space.architecture import Architecture
from nas_tf.space.search_space import find_space

DTYPES = ("int8", "float32")
# A layer so small that it drowns in the empty graph's noise still may not cost nothing.
_SMALLEST_MS = 1e-4


@dataclasses.dataclass(frozen=True)
class BuildConfig:
    """What to measure, and where to put it.

    Attributes:
      output: the table's JSON file.
      num_classes: outputs of the classifier.
      cache_dir: folder of converted models; "" means `<output>.models`.
      correction_networks: random whole networks to time along; the correction is fitted on
        half of them and judged by the others. 0: no correction.
    """

    output: str
    space: str = "full"
    resolution: int = 224
    width_multiplier: float = 1.0
    num_classes: int = 1000
    dtype: str = "int8"
    cache_dir: str = ""
    correction_networks: int = 16
    device: DeviceConfig = HostConfig()
    timing: TimingConfig = TimingConfig()

    def __post_init__(self) -> None:
        require(self.dtype in DTYPES, f"dtype={self.dtype!r}; allowed: {', '.join(DTYPES)}.")
        require(
            not self.output or pathlib.Path(self.output).suffix == ".json",
            f"--output={self.output!r} must be a file that ends in .json.",
        )
        require(
            self.resolution > 0 and self.width_multiplier > 0 and self.num_classes > 0,
            "Resolution, width multiplier and class count must be above 0.",
        )
        # Half of them fit the correction, for which `fit_correction` needs three.
        require(
            self.correction_networks == 0 or self.correction_networks >= 6,
            f"correction_networks={self.correction_networks}; 0, or 6 and more.",
        )

    @property
    def models_dir(self) -> str:
        """Where converted models are kept."""
        return self.cache_dir or f"{self.output}.models"


def build_table(config: BuildConfig) -> LatencyTable:
    """Measures a table, or takes up where an interrupted run stopped.

    A table that is already there is returned as it is if it is the one asked for.

    Raises:
      UserError: the device cannot be used; `config.output` holds something else.
    """
    specs = (
        find_space(config.space)
        .scaled(config.width_multiplier)
        .latency_specs(config.resolution, config.num_classes)
    )
    device = open_device(config.device)
    try:
        identity = identify(config, device)
        if pathlib.Path(config.output).exists():
            return _existing(config, identity)
        # Before minutes of measuring.
        files.make_folder(pathlib.Path(config.output).resolve().parent)
        partial = PartialTable(pathlib.Path(f"{config.output}.partial.json"), identity)
        samples = partial.load()
        cache = ModelCache(config.models_dir, config.dtype)
        models = cache.convert(layer_builders(specs.values()))
        networks = _networks(config)
        models |= {
            network_name(network, config.resolution, config.num_classes): stitched(
                cache, network, config.resolution, config.num_classes
            )
            for network in networks
        }
        try:
            time_with_progress("latency table: measure", device, models, config.timing, samples, partial.save)
        finally:
            # After Ctrl-C too: the next run goes on from these timings.
            partial.save(samples, at_once=True)
        # Once more: a phone has by now told how hot it became.
        identity = identify(config, device)
    finally:
        device.close()
    table = assemble(identity, {n: samples[n] for n in (EMPTY, *specs)}, config.timing)
    # Networks were timed in turn with the entries, so that a busy minute touches both alike.
    table = _corrected(table, measured_networks(networks, table, samples))
    save_table(config.output, table)
    # Only now: until the table is written, the timings are nowhere else.
    partial.path.unlink(missing_ok=True)
    return dataclasses.replace(table, path=config.output)


def assemble(identity: Identity, samples: Samples, timing: TimingConfig) -> LatencyTable:
    """The table of these timings, without a correction.

    entry = median(layer) − median(empty graph)
    """
    timings = {name: summarize(times) for name, times in samples.items()}
    baseline = timings.pop(EMPTY)
    entries = {}
    for key, timing_ms in timings.items():
        median = timing_ms.median_ms - baseline.median_ms
        entries[key] = Entry(
            max(median, _SMALLEST_MS),
            timing_ms.spread_ms,
            timing_ms.runs,
            unsteady=timing_ms.error > timing.max_error or median < _SMALLEST_MS,
        )
    return LatencyTable(identity, entries, baseline.median_ms)


def _networks(config: BuildConfig) -> list[Architecture]:
    """Random networks to correct by; fewer where the space is smaller."""
    space = find_space(config.space).scaled(config.width_multiplier)
    return random_architectures(space, min(config.correction_networks, space.size()), BUILD_SEED)


def _corrected(table: LatencyTable, networks: list[Measured]) -> LatencyTable:
    """The table with a correction fitted on every other network, judged by the rest."""
    if not networks:
        return table
    table = dataclasses.replace(table, correction=fit_correction(table, networks[::2]))
    return dataclasses.replace(table, prediction_error=report(table, networks[1::2]))


def identify(config: BuildConfig, device: Device) -> Identity:
    """What a table of this configuration on this device says of itself."""
    return Identity(
        **device.identity_fields(),
        dtype=config.dtype,
        space=config.space,
        resolution=config.resolution,
        width_multiplier=float(config.width_multiplier),
        num_classes=config.num_classes,
    )


def _existing(config: BuildConfig, identity: Identity) -> LatencyTable:
    table = load_table(config.output)
    differing, held = table.identity.differences(identity), table.identity.kernels
    require(
        not differing,
        f"--output={config.output!r} holds another table ({'; '.join(differing)}); choose another file"
        # The only difference where the default was another one when the table was measured.
        + (f", or --kernels={held}, which it has." if held != identity.kernels else "."),
    )
    return table
