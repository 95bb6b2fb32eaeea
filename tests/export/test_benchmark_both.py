"""One file with both kernels in turns: the ratio, its interval, and what is said of it."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from export import benchmark_both as both
from export.benchmark_run import BenchmarkConfig
from nas_tf.base.errors import UserError
from nas_tf.latency import small_models
from nas_tf.latency.host import HostConfig, HostDevice
from nas_tf.latency.phone import AdbConfig
from nas_tf.latency.timing import TimingConfig
from nas_tf.space.architecture import from_string
from tests.latency.fake_device import FakeDevice
from tests.latency.stand_in_phone import OUTPUT, StandInPhone

TIMING = TimingConfig(num_rounds=9, max_extra_seconds=0.0)


@pytest.fixture(scope="module", name="model")
def _model(tmp_path_factory):
    """A block with a 7×7 depthwise, a trap on XNNPACK."""
    path = tmp_path_factory.mktemp("model") / "m.tflite"
    layer = from_string("s8x2 1_3c24 6_7c24 h16").layers(56, 10)[2]
    path.write_bytes(small_models.convert(small_models.entry_model(layer), "int8"))
    return path


class Switched(FakeDevice):
    """Built-in kernels take 3 ms; XNNPACK a time of its own."""

    def __init__(self, xnnpack_ms, noise=0.0):
        super().__init__(lambda name: 3.0 if name == "builtin" else xnnpack_ms, noise)
        self.switched = []

    def use_kernels(self, kernels):
        self.switched.append(kernels)


def run_on(device, monkeypatch, model, **timing) -> dict:
    """The summary on this device."""
    monkeypatch.setattr(both, "open_device", lambda config: device)
    config = BenchmarkConfig(str(model), timing=TimingConfig(**{"num_rounds": 9} | timing))
    return both.benchmark_both("", config)


@pytest.mark.parametrize(
    "xnnpack_ms,faster,words",
    [
        (1.5, "xnnpack", "xnnpack, 2 times as fast (96 % interval 2 to 2)"),
        (12.0, "builtin", "builtin, 4 times as fast (96 % interval 4 to 4)"),
        (3.0, "", "neither: builtin takes 1 times as long as xnnpack, 96 % interval 1 to 1"),
    ],
)
def test_the_faster_kernels_are_told(model, monkeypatch, xnnpack_ms, faster, words):
    device = Switched(xnnpack_ms)
    summary = run_on(device, monkeypatch, model)
    assert summary["faster"] == faster and summary["ratio"] == 3.0 / xnnpack_ms
    assert summary["builtin"]["median_ms"] == 3.0 and summary["xnnpack"]["median_ms"] == xnnpack_ms
    assert summary["builtin"]["runs"] == summary["xnnpack"]["runs"] == 9
    assert "kernels" not in summary and summary["device"] == "fake"
    facts = both.facts_for_both(summary)
    assert facts["faster"] == words and facts["builtin kernels"] == "3 ms, median of 9"
    # In turns, and not one after the other; each model by the kernels of its name.
    assert device.rounds == [[kernels] for kernels in device.switched] and device.closed
    assert all(set(device.switched[i : i + 2]) == {"builtin", "xnnpack"} for i in range(0, 18, 2))


def test_a_difference_within_the_noise_is_none(model, monkeypatch):
    summary = run_on(Switched(3.0, noise=0.2), monkeypatch, model, num_rounds=20)
    low, high = summary["ratio_interval"]
    assert low < 1 < high and summary["faster"] == "" and low <= summary["ratio"] <= high


def test_the_interval_holds_the_median_as_often_as_it_says():
    """Order statistics: by hand for six and for ten values, and drawn for fifty."""
    low, high, held = both.median_interval(np.array([3.0, 1, 2, 6, 5, 4]))
    assert (low, high) == (1, 6) and held == pytest.approx(1 - 2 / 2**6)
    low, high, held = both.median_interval(np.arange(10.0))
    # P(Binomial(10, 1/2) ≤ 1) = 11 / 1024; with ≤ 2 it is 56 / 1024, above 2.5 %.
    assert (low, high) == (1, 8) and held == pytest.approx(1 - 2 * 11 / 1024)
    draws = np.random.default_rng(0).exponential(size=(2000, 50))
    intervals = [both.median_interval(row) for row in draws]
    inside = np.mean([low <= math.log(2) <= high for low, high, _ in intervals])
    assert intervals[0][2] >= 0.95 and abs(inside - intervals[0][2]) < 0.015


def test_on_this_machine_seven_by_seven_is_faster_with_the_built_in_kernels(model):
    summary = both.benchmark_both("", BenchmarkConfig(str(model), timing=TIMING))
    assert summary["faster"] == "builtin" and summary["ratio_interval"][1] < 0.5
    assert summary["xnnpack"]["median_ms"] > 2 * summary["builtin"]["median_ms"]
    assert summary["backend"] == "host" and summary["builtin"]["p90_ms"] > 0


def test_a_device_changes_its_kernels(model):
    device = HostDevice(HostConfig(kernels="builtin"))
    device.time_round({"m": model})
    device.use_kernels("xnnpack")
    assert device.identity_fields()["kernels"] == "xnnpack"
    (times,) = device.time_round({"m": model}).values()
    assert len(times) == 1
    with pytest.raises(UserError, match="allowed: builtin, xnnpack"):
        device.use_kernels("neon")


def test_on_a_phone(model, tmp_path):
    phone = StandInPhone(tmp_path / "phone")
    phone.write(
        "benchmark.txt", OUTPUT.replace("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n", "")
    )
    device = AdbConfig(str(phone.binary), adb_path=str(phone.adb))
    summary = both.benchmark_both("", BenchmarkConfig(str(model), device, TimingConfig(num_rounds=3)))
    flags = ["--use_xnnpack=true" in run for run in phone.runs()]
    assert len(flags) == 12 and all(sum(flags[i : i + 2]) == 1 for i in range(0, 12, 2))
    assert summary["ratio"] == 1.0 and summary["faster"] == "" and summary["device"] == "Pixel 2"
    assert len(phone.calls("push")) == 2, "the binary and the model, once"
    assert not list((phone.folder / "device").iterdir())


def test_command(model, tmp_path):
    output = tmp_path / "b.json"
    (tmp_path / "convert").mkdir()
    (tmp_path / "convert" / "model_int8.tflite").write_bytes(model.read_bytes())
    arguments = [f"--workdir={tmp_path}", "--kernels=both", "--num_runs=7", f"--output_json={output}"]
    result = subprocess.run(
        [sys.executable, "-m", "export.benchmark", *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "faster           builtin, " in result.stdout and "times as fast" in result.stdout
    assert json.loads(output.read_text())["faster"] == "builtin"
    assert not (tmp_path / "benchmark").exists(), "a comparison is no stage"


@pytest.mark.parametrize("command", ["nas_tf.build_latency_table", "export.table1"])
def test_both_is_for_a_benchmark_alone(command, tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", command, "--kernels=both", f"--output={tmp_path}/t.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "--kernels=both is for export.benchmark; allowed here: builtin, xnnpack." in result.stderr
