"""Timing one network's file on this machine or on a phone."""

import dataclasses
import pathlib
import tempfile
from typing import Any

from export import converter
from nas_tf.base.clock import Clock
from nas_tf.base.errors import require
from nas_tf.base.run_folder import BENCHMARK, RunFolder, open_stage
from nas_tf.latency.devices import DeviceConfig, HostConfig, open_device
from nas_tf.latency.host import require_model_file
from nas_tf.latency.timing import Device, Timing, TimingConfig, summarize, time_with_progress
from nas_tf.network import model_folder


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """Settings of a benchmark.

    Attributes:
      model: a `.tflite` file or a model folder of ours; "" means the run's converted file.
    """

    model: str = ""
    device: DeviceConfig = HostConfig()
    timing: TimingConfig = TimingConfig()


def run_benchmark(workdir: str, config: BenchmarkConfig) -> dict[str, Any]:
    """Times the model; in a run folder, returns the summary of a stage that has ended.

    Returns:
      The summary: `model`, `median_ms`, `p90_ms` (on this machine only), `spread_ms`, `runs`,
      `steady`, and what it ran on: `device`, `backend`, `runtime`, `kernels`, `num_threads`,
      `details`.

    Raises:
      UserError: no such model, or a device that cannot be used.
    """
    model = pathlib.Path(config.model or RunFolder(workdir).int8_file)
    require(model.exists(), f"There is no model {str(model)!r} to time.")
    if not workdir:
        return benchmark_model(model, config)
    stage = open_stage(workdir, BENCHMARK, dataclasses.asdict(config))
    summary = stage.summary()
    if summary is None:
        summary = benchmark_model(model, config)
        stage.write_summary(summary)
    return summary


def benchmark_model(model: pathlib.Path, config: BenchmarkConfig) -> dict[str, Any]:
    """Times a `.tflite` file or a model folder; the summary of `run_benchmark`."""
    clock = Clock()
    device = open_device(config.device)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = as_tflite(model, pathlib.Path(folder))
            require_model_file(path)
            timing = _time(device, path, config.timing)
            identity = device.identity_fields()
            return {
                "model": str(model),
                **timing_facts(timing, config.timing, identity["backend"]),
                **identity,
                "seconds": clock.seconds(),
            }
    finally:
        device.close()


def as_tflite(model: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """`model` itself, or the flatbuffer of a model folder, written into `folder`."""
    if not model.is_dir():
        return model
    if model_folder.read_description(model).kind == "qat":
        from quant.model import load_qat_model

        # uint8, as the conversion stage writes it unless told otherwise, so that the same file is timed.
        content = converter.convert_keras(load_qat_model(model)[0], "uint8", "uint8", True)
    else:
        network, _ = model_folder.load_float_model(model)
        content = converter.convert_keras(network, "float32", "float32", False)
    path = folder / "model.tflite"
    path.write_bytes(content)
    return path


def _time(device: Device, path: pathlib.Path, config: TimingConfig) -> Timing:
    return summarize(time_with_progress("benchmark", device, {"model": path}, config)["model"])


def timing_facts(timing: Timing, config: TimingConfig, backend: str) -> dict[str, Any]:
    """`median_ms`, `p90_ms` (on this machine only), `spread_ms`, `runs`, `steady`."""
    facts = {"median_ms": timing.median_ms}
    if backend == "host":
        # A phone's timings are medians of whole turns; their percentiles are no inference's.
        facts["p90_ms"] = timing.p90_ms
    return facts | {
        "spread_ms": timing.spread_ms,
        "runs": timing.runs,
        "steady": timing.error <= config.max_error,
    }


def facts_for_people(summary: dict[str, Any]) -> dict[str, Any]:
    """What to print of a summary."""
    spread = 100 * summary["spread_ms"] / summary["median_ms"]
    figures = {key: summary[key] for key in ("model", "median_ms", "p90_ms") if key in summary}
    return figures | {
        "spread": f"±{spread:.1f} % (half the interquartile range) over {summary['runs']} runs"
        + ("" if summary["steady"] else "; large, is the device busy?"),
        "device": f"{summary['device']}, {summary['num_threads']} thread(s)",
        "runtime": f"{summary['runtime']}, {summary['kernels']} kernels",
    }
