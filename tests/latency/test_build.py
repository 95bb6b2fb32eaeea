"""Building a table: subtraction of the baseline, resuming, refusals, and the real thing."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import time

import pytest

from nas_tf.base.errors import UserError
from nas_tf.latency import build
from nas_tf.latency.build import BuildConfig, build_table
from nas_tf.latency.build_run import facts_for_people, run_build_table
from nas_tf.latency.entries import Correction
from nas_tf.latency.model_cache import EMPTY, ModelCache
from nas_tf.latency.phone import AdbConfig
from nas_tf.latency.table import load_table
from nas_tf.latency.timing import TimingConfig
from nas_tf.space.architecture import from_string
from nas_tf.space.search_space import TINY
from tests.latency.fake_device import FakeDevice

KEYS = list(TINY.latency_specs(32, 10))
BASELINE_MS = 0.25


def truth_ms(name):
    """Entry i of the tiny space takes 1 + i/8 ms on top of every call's quarter."""
    return BASELINE_MS if name == EMPTY else BASELINE_MS + 1 + KEYS.index(name) / 8


@pytest.fixture(name="config")
def _config(tmp_path):
    """A tiny table whose models are there already, as empty files."""
    cache = ModelCache(tmp_path / "models", "int8")
    for name in (EMPTY, *KEYS):
        cache.path(name).write_bytes(
            b"\x1c\0\0\0TFL3" + bytes(92 + 8 * KEYS.index(name) if name in KEYS else 42)
        )
    return BuildConfig(
        str(tmp_path / "table.json"),
        "tiny",
        32,
        1.0,
        10,
        cache_dir=str(cache.folder),
        correction_networks=0,
        timing=TimingConfig(num_rounds=6),
    )


@pytest.fixture(name="device")
def _device(monkeypatch):
    """What the next tables are measured on; put another `FakeDevice` into the list."""
    devices = [FakeDevice(truth_ms)]
    monkeypatch.setattr(build, "open_device", lambda config: devices[0])
    return devices


def test_entries_are_medians_without_the_empty_graph(config, device):
    table = build_table(config)
    assert table.baseline_ms == BASELINE_MS
    assert list(table.entries) == KEYS
    for index, key in enumerate(KEYS):
        assert table.entries[key].median_ms == pytest.approx(1 + index / 8)
        assert table.entries[key].runs == 6 and not table.entries[key].unsteady
    assert dataclasses.replace(load_table(config.output), path="") == dataclasses.replace(table, path="")
    table.check_fits("tiny", 32, 1.0, 10)
    assert device[0].closed and len(device[0].rounds) == 6
    assert not list(pathlib.Path(config.output).parent.glob("*partial*"))


def test_killed_and_run_again_measures_only_what_is_missing(config, device):
    device[0] = FakeDevice(truth_ms, fail_after=4)
    with pytest.raises(KeyboardInterrupt):
        build_table(config)
    assert device[0].closed and not pathlib.Path(config.output).exists()
    device[0] = FakeDevice(truth_ms)
    table = build_table(config)
    assert len(device[0].rounds) == 2 and table.entries[KEYS[3]].runs == 6
    device[0] = FakeDevice(None)
    assert build_table(config) == table, "a table that is there is not measured again"
    assert not device[0].rounds


def _network_truth_ms(name):
    """Of a whole network: some ms by the length of its name."""
    return truth_ms(name) if not name.startswith("network") else 10 + len(name) / 100


@pytest.fixture(name="corrected")
def _corrected(config, monkeypatch):
    """`config` with whole networks, whose files need not be joined."""
    path = pathlib.Path(config.cache_dir) / "network.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(50))
    monkeypatch.setattr(build, "stitched", lambda *_: path)
    return dataclasses.replace(config, correction_networks=6, budget_ms=13.0)


def test_whole_networks_are_around_the_budget_and_kept_by_an_interrupted_run(corrected, device):
    device[0] = FakeDevice(_network_truth_ms)
    whole = build_table(corrected)
    assert whole.correction.networks == 3 and whole.prediction_error["networks"] == 3
    drawn = [name for name in device[0].rounds[-1] if name.startswith("network")]
    assert len(drawn) == 6
    plain = dataclasses.replace(whole, correction=Correction())
    for name in drawn:
        predicted = plain.predict_ms(from_string(name.removeprefix("network 32 10 ")), 32, 10)
        assert predicted <= 26.0
    # Killed in the first look at the entries, and among the networks.
    for rounds in (3, 7):
        pathlib.Path(corrected.output).unlink()
        device[0] = FakeDevice(_network_truth_ms, fail_after=rounds)
        with pytest.raises(KeyboardInterrupt):
            build_table(corrected)
        device[0] = FakeDevice(_network_truth_ms)
        assert build_table(corrected) == whole


def test_entries_of_further_networks(config, device):
    also = dataclasses.replace(config, also=("s8x2 1_3c8 6_3c40x2 h64",))
    added = [key for key in build.layer_specs(also) if key not in KEYS]
    assert added[0] == "expanded_conv-input:16x16x8-output:8x8x40-expand:6-kernel:3-stride:2-idskip:0"
    assert added[1] == "Conv_1-input:8x8x40-output:8x8x64"
    with pytest.raises(UserError, match="--also_architectures='resnet' is neither a file"):
        build.layer_specs(dataclasses.replace(config, also=("resnet",)))
    device[0] = FakeDevice(truth_ms)
    build_table(config)
    with pytest.raises(UserError, match="of the entries that --also_architectures asks for"):
        build_table(also)


def test_an_unfinished_table_of_something_else_is_refused(config, device):
    device[0] = FakeDevice(truth_ms, fail_after=4)
    with pytest.raises(KeyboardInterrupt):
        build_table(config)
    device[0] = FakeDevice(truth_ms, device="another")
    with pytest.raises(UserError, match="of another kind .*device: fake, not another"):
        build_table(config)
    device[0] = FakeDevice(truth_ms)
    partial = pathlib.Path(f"{config.output}.partial.json")
    content = json.loads(partial.read_text())
    for damage, expected in (
        ({"samples": {KEYS[0]: [-1.0]}}, "not above 0"),
        ({"samples": [1]}, "damaged"),
        ({"format": "x"}, "has format 'x'"),
    ):
        partial.write_text(json.dumps(content | damage))
        with pytest.raises(UserError, match=expected):
            build_table(config)


def test_another_table_is_not_overwritten(config, device):
    build_table(config)
    before = pathlib.Path(config.output).read_bytes()
    device[0] = FakeDevice(truth_ms, kernels="xnnpack")
    with pytest.raises(UserError, match="holds another table .kernels: builtin, not xnnpack"):
        build_table(config)
    with pytest.raises(UserError, match="resolution: 32, not 64"):
        build_table(dataclasses.replace(config, resolution=64))
    assert pathlib.Path(config.output).read_bytes() == before


def test_what_drowns_in_noise_is_said_to_be_unsteady(config, device):
    config = dataclasses.replace(config, timing=TimingConfig(6, max_error=0.01, max_rounds=8))
    device[0] = FakeDevice(truth_ms, noise=0.3)
    table = build_table(config)
    assert all(entry.runs == 8 and entry.spread_ms > 0 for entry in table.entries.values())
    assert sum(entry.unsteady for entry in table.entries.values()) > 20
    pathlib.Path(config.output).unlink()
    device[0] = FakeDevice(lambda name: BASELINE_MS)  # no layer costs anything
    free = build_table(config)
    assert all(entry.unsteady and entry.median_ms > 0 for entry in free.entries.values())


def test_in_a_run_folder(config, device, tmp_path):
    config = dataclasses.replace(config, output="")
    config = dataclasses.replace(config, cache_dir=str(tmp_path / "models"))
    summary = run_build_table(str(tmp_path / "run"), config)
    assert summary["device"] == "fake" and summary["entries"] == len(KEYS)
    assert summary["seconds"] >= 0 and summary["unsteady"] == []
    shown = facts_for_people(summary)["networks take"]
    assert shown.startswith(f"{summary['fastest_network_ms']:.4g} to {summary['slowest_network_ms']:.4g} ms")
    assert 0 < summary["fastest_network_ms"] < summary["slowest_network_ms"]
    stage = tmp_path / "run" / "build_latency_table"
    assert json.loads((stage / "summary.json").read_text()) == summary
    assert load_table(summary["output"]).identity.device == "fake"
    assert run_build_table(str(tmp_path / "run"), config) == summary
    assert len(device[0].rounds) == 6
    with pytest.raises(UserError, match="dtype"):
        run_build_table(str(tmp_path / "run"), dataclasses.replace(config, dtype="float32"))


def test_the_time_of_all_attempts_counts(config, device, tmp_path, fake_time):
    """Six rounds of 100 seconds, cut short after four."""

    def slow_ms(name):
        fake_time.seconds += 100 if name == EMPTY else 0
        return truth_ms(name)

    config = dataclasses.replace(config, output="")
    device[0] = FakeDevice(slow_ms, fail_after=4)
    with pytest.raises(KeyboardInterrupt):
        run_build_table(str(tmp_path / "run"), config)
    first = fake_time.seconds
    fake_time.seconds += 5000  # a night
    device[0] = FakeDevice(slow_ms)
    summary = run_build_table(str(tmp_path / "run"), config)
    assert first == 400 and summary["seconds"] == 600
    assert not list((tmp_path / "run").rglob("*seconds*"))


@pytest.mark.parametrize(
    "change,expected",
    [
        ({"dtype": "int4"}, "allowed: int8, float32"),
        ({"output": "t.yaml"}, "ends in .json"),
        ({"resolution": 0}, "above 0"),
        ({"num_classes": -1}, "above 0"),
        ({"correction_networks": 2}, "0, or 6 and more"),
    ],
)
def test_refuses_senseless_settings(config, change, expected):
    with pytest.raises(UserError, match=expected):
        dataclasses.replace(config, **change)


def test_on_a_phone(config, stand_in_phone):
    """The stand-in takes a microsecond a byte: files of 100 + 8i bytes over one of 50."""
    adb = AdbConfig(str(stand_in_phone.binary), adb_path=str(stand_in_phone.adb))
    config = dataclasses.replace(config, device=adb, timing=TimingConfig(num_rounds=3))
    stand_in_phone.write("lose_after", "60")
    with pytest.raises(UserError, match="was lost"):
        build_table(config)
    for name in ("lost", "lose_after"):
        (stand_in_phone.folder / name).unlink()
    table = build_table(config)
    assert table.identity.device == "Pixel 2" and table.identity.backend == "adb"
    assert table.identity.details["hottest_c"] == 25.0
    assert [round(1000 * e.median_ms) for e in table.entries.values()] == [
        50 + 8 * i for i in range(len(KEYS))
    ]
    # 35 models thrice; of the 61 runs before the loss, 35 + 16 were kept.
    assert len(stand_in_phone.runs()) == 61 + 3 * 35 - (35 + 16)
    assert not list((stand_in_phone.folder / "device").iterdir())


@pytest.mark.slow
def test_command_on_this_machine(tmp_path):
    """The whole way with real models, killed half-way and run again."""
    command = [
        sys.executable,
        "-m",
        "nas_tf.build_latency_table",
        f"--output={tmp_path}/t.json",
        "--space=tiny",
        "--resolution=12",
        "--num_classes=5",
        "--num_runs=5",
        "--latency_extra_seconds=0",
        "--correction_networks=6",
    ]
    models = tmp_path / "t.json.models"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as killed:
        while len(list(models.glob("[!.]*.tflite"))) < 4:
            assert killed.poll() is None
            time.sleep(0.01)
        killed.kill()
    kept = {path: path.stat().st_mtime_ns for path in models.glob("[!.]*.tflite")}
    assert 4 <= len(kept) < len(KEYS) and not (tmp_path / "t.json").exists()
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "entries" in result.stdout and "next: python -m nas_tf.search" in result.stdout
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    table = load_table(tmp_path / "t.json")
    table.check_fits("tiny", 12, 1.0, 5)
    assert table.correction.networks == 3 and table.prediction_error["networks"] == 3
    assert all(entry.median_ms > 0 for entry in table.entries.values())
    summary = json.loads((tmp_path / "t.summary.json").read_text())
    assert {"device", "entries", "seconds"} <= summary.keys()
