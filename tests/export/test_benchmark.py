"""Timing a network's file, here and on the stand-in phone."""

import json
import subprocess
import sys

import pytest

from export import benchmark_run
from export.benchmark_run import BenchmarkConfig, as_tflite, run_benchmark
from nas_tf.base.errors import UserError
from nas_tf.latency import small_models
from nas_tf.latency.phone import AdbConfig
from nas_tf.latency.timing import TimingConfig
from nas_tf.network.model_folder import ModelDescription, save_model
from nas_tf.space.architecture import from_string
from tests.latency.fake_device import FakeDevice
from tests.latency.stand_in_phone import StandInPhone

TIMING = TimingConfig(num_rounds=5, max_extra_seconds=0.0)


@pytest.fixture(scope="module", name="model")
def _model(tmp_path_factory):
    """The smallest int8 model."""
    path = tmp_path_factory.mktemp("model") / "m.tflite"
    path.write_bytes(small_models.convert(small_models.empty_model(), "int8"))
    return path


def test_times_a_file_here(model):
    summary = run_benchmark("", BenchmarkConfig(str(model), timing=TIMING))
    assert 0 < summary["median_ms"] <= summary["p90_ms"] and summary["runs"] == 5
    assert summary["backend"] == "host" and summary["device"]


def test_figures_are_those_of_the_timings(model, monkeypatch):
    class Steps(FakeDevice):
        """Takes 1, 2, 3, … ms."""

        def time_round(self, models):
            super().time_round(models)
            return {name: [float(len(self.rounds))] for name in models}

    monkeypatch.setattr(benchmark_run, "open_device", lambda config: Steps(lambda name: 1.0))
    timing = TimingConfig(num_rounds=11, max_extra_seconds=0.0)
    summary = run_benchmark("", BenchmarkConfig(str(model), timing=timing))
    # 1 … 12 ms: one pass over the eleven, because they spread.
    assert (summary["runs"], summary["median_ms"]) in ((11, 6.0), (12, 6.5))
    assert not summary["steady"]
    assert "large, is the device busy?" in benchmark_run.facts_for_people(summary)["spread"]


def test_in_a_run_folder_the_converted_file_is_timed_once(model, tmp_path, monkeypatch):
    (tmp_path / "convert").mkdir()
    (tmp_path / "convert" / "model_int8.tflite").write_bytes(model.read_bytes())
    summary = run_benchmark(str(tmp_path), BenchmarkConfig(timing=TIMING))
    assert json.loads((tmp_path / "benchmark" / "summary.json").read_text()) == summary
    monkeypatch.setattr(benchmark_run, "open_device", lambda config: pytest.fail("timed again"))
    assert run_benchmark(str(tmp_path), BenchmarkConfig(timing=TIMING)) == summary


def test_a_model_folder_is_converted(tmp_path):
    from nas_tf.network.build import build_network

    network = from_string("s8x2 1_3c8 3_3c8 h16")
    description = ModelDescription("float", network, 16, 3, ("a", "b", "c"), 18)
    save_model(tmp_path / "model", build_network(network, 16, 3), description)
    path = as_tflite(tmp_path / "model", tmp_path)
    assert path.read_bytes()[4:8] == b"TFL3"
    summary = run_benchmark("", BenchmarkConfig(str(tmp_path / "model"), timing=TIMING))
    assert summary["model"] == str(tmp_path / "model") and summary["median_ms"] > 0


def test_on_a_phone(model, tmp_path):
    phone = StandInPhone(tmp_path / "phone")
    config = BenchmarkConfig(
        str(model), AdbConfig(str(phone.binary), adb_path=str(phone.adb)), TimingConfig(num_rounds=3)
    )
    summary = run_benchmark("", config)
    assert summary["median_ms"] == model.stat().st_size / 1000  # a microsecond a byte
    assert summary["device"] == "Pixel 2" and summary["runs"] == 3
    # The tool prints no 90th percentile, and that of medians would be another thing.
    assert "p90_ms" not in summary and "p90_ms" not in benchmark_run.facts_for_people(summary)
    assert not list((phone.folder / "device").iterdir())


def test_refuses_what_cannot_be_timed(tmp_path):
    with pytest.raises(UserError, match="There is no model"):
        run_benchmark("", BenchmarkConfig(str(tmp_path / "absent.tflite")))
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="is not a model folder"):
        run_benchmark("", BenchmarkConfig(str(tmp_path / "folder")))
    (tmp_path / "text.tflite").write_text("words and more words")
    with pytest.raises(UserError, match="is not a .tflite file"):
        run_benchmark("", BenchmarkConfig(str(tmp_path / "text.tflite")))


@pytest.mark.parametrize(
    "flags,expected",
    [
        (["--model=absent.tflite"], "There is no model 'absent.tflite'"),
        ([], "Give --model or --workdir"),
        (["--model=setup.py", "--backend=adb"], "needs --benchmark_binary"),
        (
            ["--model=setup.py", "--backend=adb", "--benchmark_binary=absent"],
            "There is no --benchmark_binary='absent'",
        ),
        (["--model=setup.py", "--num_runs=0"], "num_runs"),
        (["--model=setup.py", "--backend=ios"], "backend"),
        (["--model=setup.py", "--num_threads=63"], "num_threads=63; this machine offers"),
    ],
)
def test_command_refuses_in_one_sentence(flags, expected):
    result = subprocess.run(
        [sys.executable, "-m", "export.benchmark", *flags], capture_output=True, text=True, check=False
    )
    assert result.returncode != 0 and expected in result.stderr
    assert "Traceback" not in result.stderr


def test_command(model, tmp_path):
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "export.benchmark",
            f"--model={model}",
            "--num_runs=5",
            "--latency_extra_seconds=0",
            f"--output_json={tmp_path}/b.json",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "median_ms" in result.stdout
    assert {"median_ms", "p90_ms", "device"} <= json.loads((tmp_path / "b.json").read_text()).keys()
