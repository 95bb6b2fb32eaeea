"""Which kernels measure: XNNPACK's by default, else those of the table or of the run that is gone on with."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from export import pipeline_run
from export.benchmark_run import BenchmarkConfig
from export.evaluate_config import EvaluateConfig
from export.tflite_classifier import FileOptions
from nas_tf.base.errors import UserError
from nas_tf.base.interpreter import DEFAULT_KERNELS
from nas_tf.latency.build import BuildConfig
from nas_tf.latency.entries import Entry, Identity
from nas_tf.latency.host import HostConfig
from nas_tf.latency.kernels import kernels_of_run, kernels_of_table
from nas_tf.latency.phone import AdbConfig
from nas_tf.latency.table import LatencyTable, load_table, save_table
from nas_tf.space.search_space import TINY
from quant.parity_config import ParityConfig

PUBLISHED = pathlib.Path(__file__).resolve().parents[3] / "shared/data/proxylessnas/mobile_trim.yaml"


def table_of(kernels: str, path: str = "t.json", **details) -> LatencyTable:
    """One millisecond per entry."""
    details = {"invokes": HostConfig.invokes} | details
    identity = Identity("a cpu", "host", "runtime 1", kernels, 1, "int8", "tiny", 32, 1.0, 10, details)
    return LatencyTable(identity, {key: Entry(1.0) for key in TINY.latency_specs(32, 10)}, path=path)


def pipeline(table: str = "", given: str = "", judged: str = "") -> pipeline_run.PipelineConfig:
    """Settings of a pipeline, as far as kernels go."""
    device = HostConfig(kernels=given) if given else HostConfig()

    @dataclasses.dataclass(frozen=True)
    class Search:
        latency_table: str

    others = dict.fromkeys(("train", "finetune", "convert"))
    return pipeline_run.PipelineConfig(
        table=BuildConfig("", device=device),
        search=Search(table),
        benchmark=BenchmarkConfig(device=device),
        kernels_given=bool(given),
        evaluate=EvaluateConfig(None, kernels=judged) if judged else EvaluateConfig(None),
        eval_kernels_given=bool(judged),
        **others,
    )


def settled(workdir, config) -> tuple[str, str]:
    """(kernels of the table to build, kernels of the benchmark)."""
    config = pipeline_run._with_kernels(str(workdir), config)
    return config.table.device.kernels, config.benchmark.device.kernels


def begin(workdir, stage: str, kernels: str) -> None:
    """A stage that has begun with these kernels."""
    (workdir / stage).mkdir(parents=True)
    settings = {"device": {"num_threads": 1, "kernels": kernels, "invokes": 1}}
    (workdir / stage / "settings.json").write_text(json.dumps(settings))


def test_one_default_everywhere(tmp_path):
    assert DEFAULT_KERNELS == "xnnpack"
    held = [HostConfig(), AdbConfig(sys.executable), EvaluateConfig(None), FileOptions()]
    assert {config.kernels for config in held} == {DEFAULT_KERNELS}
    assert ParityConfig("m", "f", None).runtime == DEFAULT_KERNELS
    assert settled(tmp_path, pipeline()) == (DEFAULT_KERNELS, DEFAULT_KERNELS)


def test_a_table_is_checked_with_its_own_kernels(capsys):
    assert kernels_of_table(HostConfig(), False, table_of("builtin")).kernels == "builtin"
    assert "'t.json' is of builtin kernels; files are timed with them too." in capsys.readouterr().err
    assert kernels_of_table(HostConfig(), False, table_of("xnnpack")) == HostConfig()
    assert not capsys.readouterr().err


def test_a_table_of_first_runs_judges_first_runs(capsys):
    """Weights out of the cache or in it: the same files differ by a factor of two."""
    # Tables of earlier versions do not say it, and are of first runs.
    for details in ({"invokes": 1}, {"invokes": None}):
        table = table_of("xnnpack", **details)
        if details["invokes"] is None:
            del table.identity.details["invokes"]
        assert kernels_of_table(HostConfig(), False, table) == HostConfig(invokes=1)
        assert "was measured with --invokes=1; files are timed so too." in capsys.readouterr().err
    # More warm runs, or fewer, are the same measure.
    assert kernels_of_table(HostConfig(), False, table_of("xnnpack", invokes=9)) == HostConfig()
    assert kernels_of_table(HostConfig(invokes=1), False, table_of("xnnpack")) == HostConfig(
        invokes=HostConfig.invokes
    )


def test_other_kernels_than_the_tables_are_refused():
    with pytest.raises(UserError) as refused:
        kernels_of_table(HostConfig(kernels="xnnpack"), True, table_of("builtin"))
    assert str(refused.value) == (
        "--kernels=xnnpack, but the latency table 't.json' was measured with builtin kernels; give "
        "--kernels=builtin, or a table that was measured with xnnpack."
    )


def test_a_table_that_names_no_kernels_leaves_the_default(capsys):
    assert kernels_of_table(HostConfig(), True, table_of("unnamed")) == HostConfig()
    assert "names no kernels; files are timed with xnnpack." in capsys.readouterr().err


@pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"no {PUBLISHED}")
def test_the_published_table_names_none(capsys):
    assert kernels_of_table(HostConfig(), False, load_table(PUBLISHED)) == HostConfig()
    assert "names no kernels" in capsys.readouterr().err


def judged(workdir, config) -> str:
    """Kernels of the evaluation."""
    return pipeline_run._with_kernels(str(workdir), config).evaluate.kernels


def test_an_evaluation_judges_with_the_kernels_that_are_timed(tmp_path):
    assert judged(tmp_path, pipeline()) == "xnnpack"
    assert judged(tmp_path, pipeline(given="builtin")) == "builtin"
    assert judged(tmp_path, pipeline(given="builtin", judged="xnnpack")) == "xnnpack"
    path = str(tmp_path / "t.json")
    save_table(path, table_of("builtin"))
    assert judged(tmp_path, pipeline(path)) == "builtin"


def test_an_evaluation_that_has_begun_keeps_its_kernels(tmp_path):
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate" / "settings.json").write_text(json.dumps({"kernels": "xnnpack", "split": ""}))
    assert judged(tmp_path, pipeline(given="builtin")) == "xnnpack"


def test_a_pipeline_times_with_the_kernels_of_the_table_it_was_given(tmp_path, capsys):
    path = str(tmp_path / "t.json")
    save_table(path, table_of("builtin"))
    assert settled(tmp_path, pipeline(path))[1] == "builtin"
    assert "files are timed with them too" in capsys.readouterr().err
    assert settled(tmp_path, pipeline(path, "builtin"))[1] == "builtin"
    with pytest.raises(UserError, match="--kernels=xnnpack, but the latency table"):
        settled(tmp_path, pipeline(path, "xnnpack"))


def test_a_pipeline_from_before_goes_on_with_its_kernels(tmp_path, capsys):
    begin(tmp_path, "build_latency_table", "builtin")
    assert settled(tmp_path, pipeline()) == ("builtin", "builtin")
    assert "was begun with builtin kernels, and goes on with them; a new --workdir takes xnnpack." in (
        capsys.readouterr().err
    )
    begin(tmp_path, "benchmark", "builtin")
    assert settled(tmp_path, pipeline()) == ("builtin", "builtin")
    # The stages refuse what was asked for: see `open_stage`.
    assert settled(tmp_path, pipeline(given="xnnpack")) == ("xnnpack", "xnnpack")


def test_a_benchmark_takes_the_kernels_of_its_run(tmp_path):
    assert kernels_of_run(HostConfig(), "") == HostConfig()
    assert kernels_of_run(HostConfig(), str(tmp_path)) == HostConfig()
    begin(tmp_path, "build_latency_table", "builtin")
    assert kernels_of_run(HostConfig(), str(tmp_path)).kernels == "builtin"
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "summary.json").write_text('{"kernels": "xnnpack"}')  # a table from elsewhere
    assert kernels_of_run(HostConfig(), str(tmp_path)).kernels == "xnnpack"
    begin(tmp_path, "benchmark", "builtin")
    assert kernels_of_run(HostConfig(), str(tmp_path)).kernels == "builtin"


def command(name: str, *flags: str) -> subprocess.CompletedProcess:
    """A command's own process."""
    return subprocess.run(
        [sys.executable, "-m", name, *flags], capture_output=True, text=True, check=False, timeout=300
    )


QUICK = ("--num_runs=3", "--latency_extra_seconds=0")


def test_commands_build_check_and_go_on(tmp_path):
    """A tiny table of each kernels; the folder of one from before the default is gone on with."""
    tiny = ("--space=tiny", "--resolution=32", "--num_classes=10", "--correction_networks=0", *QUICK)
    cache = f"--latency_cache_dir={tmp_path}/models"
    old, new = tmp_path / "old", tmp_path / "new"
    built = command("nas_tf.build_latency_table", f"--workdir={old}", *tiny, cache, "--kernels=builtin")
    assert built.returncode == 0, built.stderr
    built = command("nas_tf.build_latency_table", f"--workdir={new}", *tiny, cache)
    assert built.returncode == 0 and "xnnpack kernels" in built.stdout, built.stderr
    summary = json.loads((new / "build_latency_table/summary.json").read_text())
    assert summary["kernels"] == "xnnpack"
    # Measured here: 7×7 is a trap on these kernels, and not on the others.
    (slow,) = summary["slow_entries"]
    assert slow["trait"] == "with a 7×7 depthwise" and slow["reason"].startswith("XNNPACK has depthwise")
    assert set(slow["times"]) == {key for key in TINY.latency_specs(32, 10) if "kernel:7" in key}
    assert "10 of 31 candidates, all with a 7×7 depthwise" in built.stdout
    assert json.loads((old / "build_latency_table/summary.json").read_text())["slow_entries"] == []
    again = command("nas_tf.build_latency_table", f"--workdir={old}", *tiny, cache)
    assert again.returncode == 0 and "goes on with them" in again.stderr, again.stderr
    assert "builtin kernels" in again.stdout
    other = command("nas_tf.build_latency_table", f"--workdir={old}", *tiny, cache, "--kernels=xnnpack")
    assert other.returncode == 1 and 'device.kernels: there "builtin", asked "xnnpack"' in other.stderr
    path = old / "build_latency_table/latency_table.json"
    shutil.copy(path, tmp_path / "held.json")
    held = command("nas_tf.build_latency_table", f"--output={tmp_path}/held.json", *tiny, cache)
    assert "kernels: builtin, not xnnpack); choose another file, or --kernels=builtin" in held.stderr
    check = ("--joined", "--num_networks=3", cache, *QUICK, f"--output_json={tmp_path}/facts.json")
    checked = command("nas_tf.check_latency_table", f"--latency_table={path}", *check)
    assert checked.returncode == 0 and "is of builtin kernels" in checked.stderr, checked.stderr
    assert json.loads((tmp_path / "facts.json").read_text())["measured_on"]["kernels"] == "builtin"
    refused = command("nas_tf.check_latency_table", f"--latency_table={path}", "--kernels=xnnpack", *check)
    assert refused.returncode == 1 and "was measured with builtin kernels" in refused.stderr
    assert "Traceback" not in refused.stderr
