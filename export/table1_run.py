"""The five networks of the paper's Table 1: predicted and measured here, beside published."""

import dataclasses
import pathlib
import tempfile
from typing import Any

from export.table1_accuracy import accuracies
from nas_tf.base import files
from nas_tf.base.errors import require
from nas_tf.latency.devices import DeviceConfig, HostConfig, open_device
from nas_tf.latency.model_cache import EMPTY, ModelCache, layer_builders, network_builders, network_name
from nas_tf.latency.timing import Samples, TimingConfig, summarize, time_with_progress
from nas_tf.space.architecture import Architecture
from nas_tf.space.layer_spec import LayerSpec
from nas_tf.space.published import MOBILENET_V2, PROXYLESS_MOBILE

# ImageNet's classes and the background, as the paper's networks have.
NUM_CLASSES = 1001


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of Cai et al. 2019, Table 1: top-1 in per cent, latency of a Pixel 2 in ms."""

    network: Architecture
    resolution: int
    width_multiplier: float
    float_top1: float
    int8_top1: float
    published_ms: float

    @property
    def name(self) -> str:
        """As the paper writes it."""
        return f"{self.network.name} {self.resolution}-{self.width_multiplier}"

    @property
    def architecture(self) -> Architecture:
        """With its width multiplier applied."""
        return self.network.scaled(self.width_multiplier)

    @property
    def model_name(self) -> str:
        """Name of the whole network in a `ModelCache`."""
        return network_name(self.architecture, self.resolution, NUM_CLASSES)

    @property
    def layers(self) -> tuple[LayerSpec, ...]:
        """All layers with their shapes."""
        return self.architecture.layers(self.resolution, NUM_CLASSES)


ROWS = (
    Row(MOBILENET_V2, 224, 0.5, 65.4, 63.7, 28),
    Row(MOBILENET_V2, 192, 0.75, 68.7, 67.4, 36),
    Row(MOBILENET_V2, 160, 1.0, 68.8, 67.4, 31),
    Row(PROXYLESS_MOBILE, 224, 0.5, 67.0, 65.7, 31),
    Row(PROXYLESS_MOBILE, 160, 1.0, 70.3, 69.2, 35),
)


@dataclasses.dataclass(frozen=True)
class Table1Config:
    """Settings.

    Attributes:
      output: JSON file to write; the table as text goes beside it with suffix `.md`.
      cache_dir: folder of converted models; "" for one that is thrown away.
      runs: run folders of rows' networks, whose accuracies are shown too.
    """

    output: str
    cache_dir: str = ""
    runs: tuple[str, ...] = ()
    dtype: str = "int8"
    device: DeviceConfig = HostConfig()
    timing: TimingConfig = TimingConfig()


def run_table1(config: Table1Config, rows: tuple[Row, ...] = ROWS) -> dict[str, Any]:
    """Measures every layer and every whole network of `rows` in one interleaved run.

    Returns:
      The summary: what it ran on, and `rows` (see `make_rows`).
    """
    require(
        # The table as text has the same name with suffix .md, so that must not be the name itself.
        pathlib.Path(config.output).suffix == ".json",
        f"--output={config.output!r} must be a file that ends in .json.",
    )
    networks = [(row.name, row.architecture, row.resolution) for row in rows]
    measured = accuracies(config.runs, networks)
    device = open_device(config.device)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            models = _convert(config.cache_dir or scratch, config.dtype, rows)
            samples = time_with_progress("table 1: measure", device, models, config.timing)
        summary = {**device.identity_fields(), "dtype": config.dtype, "rows": make_rows(rows, samples)}
        for row in summary["rows"]:
            row["accuracy"] = measured.get(row["name"])
    finally:
        device.close()
    files.write_json(config.output, summary)
    files.write_text(pathlib.Path(config.output).with_suffix(".md"), as_markdown(summary))
    return summary


def make_rows(rows: tuple[Row, ...], samples: Samples) -> list[dict[str, Any]]:
    """One dict per row, its latencies also as ratios to the first row.

    predicted_ms = median(empty) + Σ (median(layer) − median(empty)), with no correction.
    """
    median = {name: summarize(times).median_ms for name, times in samples.items()}
    empty = median[EMPTY]
    made = []
    for row in rows:
        # A skipped block has no key and takes no time.
        keys = [layer.key for layer in row.layers if layer.key is not None]
        latencies = {
            "published_ms": float(row.published_ms),
            "measured_ms": median[row.model_name],
            "predicted_ms": empty + sum(median[key] - empty for key in keys),
        }
        first = made[0] if made else latencies
        ratios = {f"{name[:-3]}_ratio": value / first[name] for name, value in latencies.items()}
        made.append(
            {
                "name": row.name,
                "params": row.architecture.params(NUM_CLASSES),
                "macs": row.architecture.macs(row.resolution, NUM_CLASSES),
                "published_float_top1": row.float_top1,
                "published_int8_top1": row.int8_top1,
                **latencies,
                **ratios,
            }
        )
    return made


def _convert(folder: str, dtype: str, rows: tuple[Row, ...]) -> dict[str, pathlib.Path]:
    builders = layer_builders(layer for row in rows for layer in row.layers)
    for row in rows:
        builders |= network_builders([row.architecture], row.resolution, NUM_CLASSES)
    return ModelCache(folder, dtype).convert(builders)


def as_markdown(summary: dict[str, Any]) -> str:
    """The rows as a table; a ratio is to the first row."""
    lines = [
        f"Measured and predicted: {summary['device']}, {summary['runtime']}, "
        f"{summary['kernels']} kernels, {summary['num_threads']} thread(s), {summary['dtype']}. "
        "Published: Pixel 2, and int8 (float) top-1.",
        "",
        "| network | M params | M multiply-adds | top-1 published | ms published (ratio) "
        "| ms measured (ratio) | ms predicted (ratio) |",
        "|---|---|---|---|---|---|---|",
    ]
    judged = [row for row in summary["rows"] if row.get("accuracy")]
    if judged:
        lines[2] += " top-1 measured, int8 (float) |"
        lines[3] += "---|"
    for row in summary["rows"]:
        latencies = " | ".join(
            f"{row[f'{kind}_ms']:.2f} ({row[f'{kind}_ratio']:.2f})"
            for kind in ("published", "measured", "predicted")
        )
        lines.append(
            f"| {row['name']} | {row['params'] / 1e6:.2f} | {row['macs'] / 1e6:.1f} "
            f"| {row['published_int8_top1']} ({row['published_float_top1']}) | {latencies} |"
            + (f" {_accuracy(row.get('accuracy'))} |" if judged else "")
        )
    for row in judged:
        lines += ["", f"{row['name']}: {_source(row['accuracy'])}."]
    return "\n".join(lines) + "\n"


def _accuracy(found: dict[str, Any] | None) -> str:
    """In per cent, as the paper's own."""
    if not found:
        return "—"
    int8, full = (f"{100 * found[kind]['top1']:.1f}" if kind in found else "—" for kind in ("int8", "float"))
    return f"{int8} ({full})"


def _source(found: dict[str, Any]) -> str:
    parts = [
        f"{kind} {found[kind]['top1']:.2%} (95 % interval {found[kind]['interval'][0]:.2%} to "
        f"{found[kind]['interval'][1]:.2%}) of {found[kind]['images']:,} images"
        for kind in ("int8", "float")
        if kind in found
    ]
    return f"{'; '.join(parts)}, {found['dataset']} {found['split']}, run {found['run']}"
