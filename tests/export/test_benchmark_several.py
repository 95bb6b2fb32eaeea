"""Several models in turns: ratios to the first, their intervals, and one summary for every device."""

import json
import subprocess
import sys

import pytest

from export import benchmark_several as several
from export.benchmark_run import BenchmarkConfig
from nas_tf.base.errors import UserError
from nas_tf.latency import small_models
from nas_tf.latency.phone import AdbConfig
from nas_tf.latency.timing import TimingConfig
from nas_tf.space.architecture import from_string
from tests.latency.fake_device import FakeDevice
from tests.latency.stand_in_phone import StandInPhone

ROW = {"model", "median_ms", "p90_ms", "spread_ms", "runs", "steady", "ratio", "ratio_interval", "verdict"}


@pytest.fixture(scope="module", name="models")
def _models(tmp_path_factory):
    """Three files of the same block at growing sizes."""
    root, found = tmp_path_factory.mktemp("models"), []
    layer = from_string("s8x2 1_3c24 6_3c24 h16").layers(56, 10)[2]
    content = small_models.convert(small_models.entry_model(layer), "int8")
    for name in ("a", "b", "c"):
        (root / f"{name}.tflite").write_bytes(content)
        found.append(str(root / f"{name}.tflite"))
    return found


def run_on(device, monkeypatch, models, **timing):
    monkeypatch.setattr(several, "open_device", lambda config: device)
    config = BenchmarkConfig("", timing=TimingConfig(**{"num_rounds": 9} | timing))
    return several.benchmark_several(models, config)


def test_ratios_to_the_first(models, monkeypatch):
    device = FakeDevice(lambda name: (2.0, 3.0, 1.0)[int(name)])
    summary = run_on(device, monkeypatch, models)
    rows = summary["models"]
    assert [row["model"] for row in rows] == models
    assert [row["median_ms"] for row in rows] == [2.0, 3.0, 1.0]
    assert [row["ratio"] for row in rows] == [1.0, 1.5, 0.5]
    assert [row["verdict"] for row in rows] == ["", "slower", "faster"]
    assert all(row["runs"] == 9 for row in rows) and summary["confidence"] >= 0.95
    # All of them in every round, and not always in the same order.
    assert all(set(names) == {"0", "1", "2"} for names in device.rounds) and device.closed
    assert len(device.rounds) == 9 and len({tuple(names) for names in device.rounds}) > 1
    facts = several.facts_for_several(summary)
    assert facts[models[0]] == "2 ms, median of 9"
    assert facts[models[1]] == "3 ms, median of 9; 1.5 times the first (96 % interval 1.5 to 1.5): slower"


def test_a_machine_that_slows_down_leaves_the_ratios(models, monkeypatch):
    """Every round takes longer than the one before: medians move, ratios do not."""
    device = FakeDevice(lambda name: (1 + 0.2 * len(device.rounds)) * (2.0, 3.0, 1.0)[int(name)])
    rows = run_on(device, monkeypatch, models)["models"]
    assert [row["ratio"] for row in rows] == pytest.approx([1.0, 1.5, 0.5])
    assert rows[1]["ratio_interval"] == pytest.approx([1.5, 1.5])
    assert rows[0]["median_ms"] > 3.5


def test_noise_is_no_difference(models, monkeypatch):
    rows = run_on(FakeDevice(lambda name: 2.0, noise=0.2), monkeypatch, models, num_rounds=21)["models"]
    for row in rows[1:]:
        low, high = row["ratio_interval"]
        assert low < 1 < high and row["verdict"] == "" and low <= row["ratio"] <= high


def test_host_and_phone_have_one_summary(models, tmp_path):
    host = several.benchmark_several(models[:2], BenchmarkConfig("", timing=TimingConfig(num_rounds=6)))
    phone = StandInPhone(tmp_path / "phone")
    device = AdbConfig(str(phone.binary), adb_path=str(phone.adb))
    timed = several.benchmark_several(models[:2], BenchmarkConfig("", device, TimingConfig(num_rounds=3)))
    assert host.keys() == timed.keys()
    assert all(row.keys() == ROW for row in host["models"] + timed["models"])
    assert host["models"][0]["p90_ms"] > 0 and timed["models"][0]["p90_ms"] is None
    assert timed["device"] == "Pixel 2" and timed["models"][1]["ratio"] == 1.0
    assert not list((phone.folder / "device").iterdir()), "nothing is left on the phone"


def test_what_cannot_be_compared_is_refused_before_any_work(models, monkeypatch):
    monkeypatch.setattr(several, "open_device", None)
    with pytest.raises(UserError, match="There is no model '/no.tflite' to time"):
        several.benchmark_several([models[0], "/no.tflite"], BenchmarkConfig())
    with pytest.raises(UserError, match="a.tflite' is given twice; each is timed once"):
        several.benchmark_several([models[0], models[0]], BenchmarkConfig())


def test_command(models, tmp_path):
    output = tmp_path / "b.json"
    command = [sys.executable, "-m", "export.benchmark", *(f"--model={m}" for m in models[:2])]
    result = subprocess.run(
        [*command, "--num_runs=6", f"--output_json={output}", f"--workdir={tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "times the first" in result.stdout
    assert [row["model"] for row in json.loads(output.read_text())["models"]] == models[:2]
    assert not (tmp_path / "benchmark").exists(), "a comparison is no stage"
    refused = subprocess.run([*command, "--kernels=both"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "--kernels=both compares the kernels on one --model, not on 2." in refused.stderr
