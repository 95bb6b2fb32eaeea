"""Building a latency table: one small model for each entry, minus what an empty graph takes."""

import dataclasses
import pathlib

from nas_tf.base import files
from nas_tf.base.errors import require
from nas_tf.latency.accuracy import BUILD_SEED, report
from nas_tf.latency.correction import fit_correction
from nas_tf.latency.devices import DeviceConfig, HostConfig, open_device
from nas_tf.latency.entries import Entry, Identity
from nas_tf.latency.model_cache import EMPTY, ModelCache, layer_builders, network_name
from nas_tf.latency.partial import PartialTable
from nas_tf.latency.random_networks import architectures_within, band_of
from nas_tf.latency.table import LatencyTable, load_table, save_table
from nas_tf.latency.timing import Device, Samples, TimingConfig, summarize, time_with_progress, without_drift
from nas_tf.latency.whole_networks import Measured, measured_networks, stitched
from nas_tf.space.architecture import Architecture, from_string
from nas_tf.space.layer_spec import LayerSpec
from nas_tf.space.published import read_architecture
from nas_tf.space.search_space import SearchSpace, find_space

DTYPES = ("int8", "float32")
# A layer so small that it drowns in the empty graph's noise still may not cost nothing.
_SMALLEST_MS = 1e-4
_FIRST_ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class BuildConfig:
    """What to measure, and where to put it.

    Attributes:
      output: the table's JSON file.
      num_classes: outputs of the classifier.
      cache_dir: folder of converted models; "" means `<output>.models`.
      correction_networks: random whole networks to time along; the correction is fitted on
        half of them and judged by the others. 0: no correction.
      budget_ms: they are predicted to take half of it to twice as much; 0: see
        `random_networks.band_of`.
      also: networks of which the table gets all entries too, as for `--architecture`.
    """

    output: str
    space: str = "full"
    resolution: int = 224
    width_multiplier: float = 1.0
    num_classes: int = 1000
    dtype: str = "int8"
    cache_dir: str = ""
    correction_networks: int = 24
    budget_ms: float = 0.0
    also: tuple[str, ...] = ()
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
    specs = layer_specs(config)
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
        try:
            networks = _networks(config, identity, device, models, samples, partial)
            models |= {
                _name(config, network): stitched(cache, network, config.resolution, config.num_classes)
                for network in networks
            }
            time_with_progress("latency table: measure", device, models, config.timing, samples, partial.save)
        finally:
            # After Ctrl-C too: the next run goes on from these timings.
            partial.save(samples, at_once=True)
        # Once more: a phone has by now told how hot it became.
        identity = identify(config, device)
    finally:
        device.close()
    # Networks were timed in turn with the entries, so that what is left of a change of pace touches both
    # alike.
    samples = without_drift({name: samples[name] for name in models})
    table = assemble(identity, {n: samples[n] for n in (EMPTY, *specs)}, config.timing)
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


def layer_specs(config: BuildConfig) -> dict[str, LayerSpec]:
    """Key → layer of all entries: those of the space, and those of the networks named beside it."""
    specs = _space(config).latency_specs(config.resolution, config.num_classes)
    for text in config.also:
        network = read_architecture(text, "--also_architectures").scaled(config.width_multiplier)
        layers = network.layers(config.resolution, config.num_classes)
        specs |= {layer.key: layer for layer in layers if layer.key is not None}
    return specs


def _networks(
    config: BuildConfig,
    identity: Identity,
    device: Device,
    models: dict[str, pathlib.Path],
    samples: Samples,
    partial: PartialTable,
) -> list[Architecture]:
    """Random networks to correct by, around the budget; fewer where there are no more."""
    if not config.correction_networks:
        return []
    # Of an interrupted run: other timings would draw others.
    begun = [name.removeprefix(_name(config)) for name in samples if name.startswith(_name(config))]
    if begun:
        return [from_string(text) for text in begun]
    # Which networks lie in the band is told well enough by a few timings of each entry.
    quick = dataclasses.replace(
        config.timing, num_rounds=min(_FIRST_ROUNDS, config.timing.num_rounds), max_extra_seconds=0.0
    )
    time_with_progress("latency table: first look", device, models, quick, samples, partial.save)
    table = assemble(identity, without_drift({name: samples[name] for name in models}), config.timing)
    space = _space(config)
    band = band_of(space, table, config.budget_ms)
    count = min(config.correction_networks, space.size())
    found = architectures_within(space, table, band, count, BUILD_SEED)
    # All begin anew together, because a pass has one pace and times all models.
    samples.clear()
    return found


def _space(config: BuildConfig) -> SearchSpace:
    return find_space(config.space).scaled(config.width_multiplier)


def _name(config: BuildConfig, network: Architecture | None = None) -> str:
    """Name of a network among the timings; without one, what all such names begin with."""
    return network_name(network, config.resolution, config.num_classes)


def _corrected(table: LatencyTable, networks: list[Measured]) -> LatencyTable:
    """The table with a correction fitted on every other network, judged by the rest."""
    # `fit_correction` needs three, and a space or a band may hold fewer.
    if len(networks) < 6:
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
    absent = [key for key in layer_specs(config) if key not in table.entries]
    require(
        not absent,
        f"--output={config.output!r} holds a table without {len(absent)} of the entries that "
        f"--also_architectures asks for, such as {', '.join(map(repr, absent[:1]))}; choose another file.",
    )
    return table
