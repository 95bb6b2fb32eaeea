"""Building a latency table: one small model an entry, minus what an empty graph takes."""

import dataclasses
import math
import pathlib
import time

from nas_tf import files
from nas_tf.errors import UserError, require
from nas_tf.latency.devices import DeviceConfig, HostConfig, open_device
from nas_tf.latency.entries import Entry, Identity, identity_from_json
from nas_tf.latency.model_cache import EMPTY, ModelCache, layer_builders
from nas_tf.latency.table import LatencyTable, load_table, save_table
from nas_tf.latency.timing import Device, Samples, TimingConfig, summarize, time_with_progress
from nas_tf.space.search_space import find_space

DTYPES = ("int8", "float32")
_PARTIAL_FORMAT = "nas_tf.latency_samples/1"
_SAVE_SECONDS = 2.0
# A layer so small that it drowns in the empty graph's noise still may not cost nothing.
_SMALLEST_MS = 1e-4


@dataclasses.dataclass(frozen=True)
class BuildConfig:
    """What to measure, and where to put it.

    Attributes:
      output: the table's JSON file.
      num_classes: outputs of the classifier.
      cache_dir: folder of converted models; "" means `<output>.models`.
    """

    output: str
    space: str = "full"
    resolution: int = 224
    width_multiplier: float = 1.0
    num_classes: int = 1000
    dtype: str = "int8"
    cache_dir: str = ""
    device: DeviceConfig = HostConfig()
    timing: TimingConfig = TimingConfig()

    def __post_init__(self):
        require(self.dtype in DTYPES, f"dtype={self.dtype!r}; allowed: {', '.join(DTYPES)}.")
        require(not self.output or pathlib.Path(self.output).suffix == ".json",
                f"--output={self.output!r} must be a file that ends in .json.")
        require(self.resolution > 0 and self.width_multiplier > 0 and self.num_classes > 0,
                "Resolution, width multiplier and class count must be above 0.")

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
    specs = find_space(config.space).scaled(config.width_multiplier).latency_specs(
        config.resolution, config.num_classes)
    device = open_device(config.device)
    try:
        identity = identify(config, device)
        if pathlib.Path(config.output).exists():
            return _existing(config, identity)
        partial = _Partial(pathlib.Path(f"{config.output}.partial.json"), identity)
        files.make_folder(pathlib.Path(config.output).resolve().parent)
        cache = ModelCache(config.models_dir, config.dtype)
        models = cache.convert(layer_builders(specs.values()))
        samples = _measure(config, device, models, partial)
        # Once more: a phone has by now told how hot it became.
        identity = identify(config, device)
    finally:
        device.close()
    table = assemble(identity, samples, config.timing)
    save_table(config.output, table)
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
            max(median, _SMALLEST_MS), timing_ms.spread_ms, timing_ms.runs,
            unsteady=timing_ms.error > timing.max_error or median < _SMALLEST_MS)
    return LatencyTable(identity, entries, baseline.median_ms)


class _Partial:
    """Timings of a run under way, beside the table."""

    def __init__(self, path: pathlib.Path, identity: Identity):
        self.path, self._identity = path, identity
        self._saved = time.monotonic()

    def load(self) -> Samples:
        """Timings of an interrupted run of the same identity; none if there is no such run."""
        if not self.path.exists():
            return {}
        content = files.read_json(self.path, "unfinished latency table")
        where = f"unfinished latency table {str(self.path)!r}"
        try:
            require(content["format"] == _PARTIAL_FORMAT,
                    f"The {where} has format {content['format']!r}; delete it.")
            held = identity_from_json(content["identity"], where)
            samples = {str(name): [float(t) for t in times]
                       for name, times in content["samples"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"The {where} is damaged ({error!r}); delete it.") from error
        differing = held.differences(self._identity)
        require(not differing, f"The {where} is of another kind ({'; '.join(differing)}); delete "
                               "it or choose another --output.")
        require(all(math.isfinite(t) and t > 0 for times in samples.values() for t in times),
                f"The {where} has a latency that is not above 0; delete it.")
        return samples

    def save(self, samples: Samples, at_once: bool = False) -> None:
        """Writes the timings, at most every few seconds."""
        if at_once or time.monotonic() - self._saved >= _SAVE_SECONDS:
            files.write_json(self.path, {
                "format": _PARTIAL_FORMAT, "identity": dataclasses.asdict(self._identity),
                "samples": samples})
            self._saved = time.monotonic()


def _measure(config: BuildConfig, device: Device, models: dict[str, pathlib.Path],
             partial: _Partial) -> Samples:
    samples = {name: partial.load().get(name, []) for name in models}
    try:
        time_with_progress("latency table: measure", device, models, config.timing, samples,
                           partial.save)
    finally:
        partial.save(samples, at_once=True)
    return samples


def identify(config: BuildConfig, device: Device) -> Identity:
    """What a table of this configuration on this device says of itself."""
    return Identity(**device.identity_fields(), dtype=config.dtype, space=config.space,
                    resolution=config.resolution, width_multiplier=float(config.width_multiplier),
                    num_classes=config.num_classes)


def _existing(config: BuildConfig, identity: Identity) -> LatencyTable:
    table = load_table(config.output)
    differing = table.identity.differences(identity)
    require(not differing, f"--output={config.output!r} holds another table "
                           f"({'; '.join(differing)}); choose another file.")
    return table
