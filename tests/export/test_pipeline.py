"""The pipeline: what it refuses at once, and a whole small run that is killed and taken up."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import pytest
from absl import flags
from absl.testing import flagsaver

from nas_tf.base.errors import UserError
from nas_tf.latency.entries import Entry, Identity
from nas_tf.latency.table import LatencyTable, save_table
from nas_tf.space.search_space import TINY

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SMALL = (
    f"--flagfile={REPOSITORY}/flags/quickstart.flags",
    "--train_split=train[:30%]",
    "--search_warmup_epochs=1",
    "--search_epochs=2",
    "--search_alpha_every=2",
    "--epochs=4",
    "--steps=10",
    "--finetune_calibration_images=64",
    "--num_runs=5",
)


SUMMARIES = ("search", "train", "finetune", "convert", "evaluate", "benchmark")


def command(*arguments):
    """The pipeline's command line, with a small digits run as the default."""
    return [sys.executable, "-m", "nas_tf.pipeline", *SMALL, *arguments]


def run(*arguments, cwd):
    """Runs the pipeline in a process of its own, from another folder."""
    return subprocess.run(command(*arguments), cwd=cwd, capture_output=True, text=True, check=False)


def refusal(*arguments):
    """The sentence with which the pipeline refuses these flags, without a process of its own."""
    from flags.pipeline import pipeline_config
    from nas_tf import pipeline

    assert pipeline_config  # the flags are defined by importing it
    with flagsaver.flagsaver():
        flags.FLAGS(["pipeline", *SMALL, *arguments])
        with pytest.raises(UserError) as refused:
            pipeline.main()
    return str(refused.value)


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["--dataset=no_such_set"], "no_such_set"),
        # The default is for ImageNet; 30 % of the digits are fewer.
        (
            ["--search_held_out=5000"],
            "--search_held_out=5000: Cannot hold out 5000 of the 431 images of 'train[:30%]'; allowed: at "
            "least 1, and fewer than all; a number below 1 is a share. Of these images, "
            "--search_held_out=0.2 is a fifth.",
        ),
        (["--train_split=lesson"], "lesson"),
        (["--train_split=train[:80%]", "--eval_split=train[50%:]"], "--eval_split='train[50%:]' share 432"),
        (
            ["--train_split=train[:80%]", "--eval_split=train[80%:]", "--split=train[:9]"],
            "--split='train[:9]' share 9 images",
        ),
        (["--target_latency_ms=5"], "either --target_latency_ms or --target_latency_share"),
        (["--target_latency_share=0"], "either --target_latency_ms or --target_latency_share"),
        (["--architecture=resnet50"], "'resnet50' is neither a file nor a published name"),
        (["--latency_table=none.json"], "no latency table 'none.json'"),
        # Of later stages; all of these were refused only once a table had been measured.
        (["--search_held_out=100000"], "--search_held_out=100000: "),
        (["--search_tied_epochs=9"], "--search_tied_epochs must be 0 to the 1 epochs"),
        (["--max_gate_paths=1"], "--max_gate_paths must be 0 (no limit) or at least 2, not 1"),
        (["--max_params=10"], "--max_params=10 is below the smallest network of this search space"),
        (["--max_macs=100000000000"], "--max_macs=1e+11 is above the largest network"),
        (["--warmup_epochs=4"], "--warmup_epochs=4 must be fewer than --epochs=4"),
        (["--resize_size=8"], "must be resized to at least the resolution"),
        (["--initial_model=no_such_folder"], "'no_such_folder' is not a model folder"),
        (["--num_threads=64"], "num_threads=64; this machine offers 1 to"),
        (["--also_architectures=resnet50"], "--also_architectures='resnet50' is neither"),
        (["--shards=5"], "A batch of the search of 32 images cannot be cut into --shards=5 equal parts."),
        (
            ["--shards=3", "--search_batch_size=33", "--search_held_out=66"],
            "--batch_size of 32 images cannot be cut into --shards=3 equal parts.",
        ),
    ],
)
def test_mistakes_are_refused_before_any_work(tmp_path, arguments, message):
    assert message in refusal(f"--workdir={tmp_path}/run", *arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "flag", ["--target_latency_share=1.5", "--epochs=0", "--batch_size=-4", "--resolution=-32"]
)
def test_impossible_values_are_refused_by_their_flag(tmp_path, flag):
    result = run(f"--workdir={tmp_path}/run", flag, cwd=tmp_path)
    assert result.returncode == 1
    assert f"flag {flag}" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("target", ["0.000001", "100000"])
def test_targets_out_of_reach_name_the_range(tmp_path, target):
    specs = TINY.latency_specs(32, 10)
    table = LatencyTable(
        Identity("a phone", "host", "runtime 1", "builtin", 1, "int8", "tiny", 32, 1.0, 10),
        {key: Entry(1.0) for key in specs},
    )
    save_table(tmp_path / "table.json", table)
    # One ms an entry: four fixed layers, and five blocks of which two can be skipped.
    message = refusal(
        f"--workdir={tmp_path}/run",
        f"--latency_table={tmp_path}/table.json",
        "--target_latency_share=0",
        f"--target_latency_ms={target}",
    )
    assert "--target_latency_ms" in message and "7 to 9 ms" in message


def test_seconds_are_those_of_the_stages_however_often_it_is_run(tmp_path, monkeypatch):
    """Each stage's are of all its attempts; running a finished pipeline again takes none."""
    from export import pipeline_run

    plan = [("search", lambda: {"seconds": 200.5}), ("train", lambda: {"seconds": 100.0, "top1": 0.9})]
    monkeypatch.setattr(pipeline_run, "check_stages", lambda workdir, config, workers: 10)
    monkeypatch.setattr(pipeline_run, "_with_kernels", lambda workdir, config: config)
    monkeypatch.setattr(pipeline_run, "_shared_settings", lambda config: {})
    monkeypatch.setattr(pipeline_run, "_plan", lambda *_: plan)
    monkeypatch.setattr(pipeline_run, "_forget_graphs", lambda: None)
    monkeypatch.setattr(pipeline_run, "_report", lambda workdir: "r.html")
    config = types.SimpleNamespace(
        architecture="", target_share=0.5, search=types.SimpleNamespace(latency_table="")
    )
    for _ in range(2):
        summary = pipeline_run.run_pipeline(str(tmp_path), config)
        assert summary["seconds"] == 300.5
    assert summary["train"] == {"path": str(tmp_path / "train"), "top1": 0.9, "seconds": 100.0}
    assert json.loads((tmp_path / "pipeline" / "summary.json").read_text()) == summary


def _start_and_kill(tmp_path, workdir, stage):
    """Starts the pipeline and kills it without warning once `stage` has begun its work."""
    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command(f"--workdir={workdir}"), cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )
        metrics = workdir / stage / "metrics.jsonl"
        deadline = time.monotonic() + 600
        while not (metrics.exists() and metrics.read_text()):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_killed_run_is_taken_up_and_ends_in_a_checked_file(tmp_path):
    workdir = tmp_path / "run"
    for stage in ("search", "train"):
        _start_and_kill(tmp_path, workdir, stage)
        assert not (workdir / stage / "summary.json").exists()
    result = run(f"--workdir={workdir}", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    summary = json.loads((workdir / "pipeline/summary.json").read_text())
    assert summary["search"]["predicted_latency_ms"] <= summary["search"]["target_latency_ms"]
    assert summary["evaluate"]["background_predictions"] == 0
    assert summary["convert"]["background_margin_steps"] >= 1
    assert pathlib.Path(summary["convert"]["output"]).stat().st_size == summary["convert"]["bytes"]
    assert (workdir / "report.html").stat().st_size > 10_000
    # Run again: nothing is done twice, nothing changes.
    before = (workdir / "convert/model_int8.tflite").read_bytes()
    again = run(f"--workdir={workdir}", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (workdir / "convert/model_int8.tflite").read_bytes() == before
    # Moved, it is still that run: no stage works again.
    stages = ("build_latency_table", *SUMMARIES)
    ended = {name: (workdir / name / "summary.json").stat().st_mtime_ns for name in stages}
    workdir = workdir.rename(tmp_path / "moved")
    again = run("--workdir=moved", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert {name: (workdir / name / "summary.json").stat().st_mtime_ns for name in stages} == ended
    # Other settings in the same folder are refused, and the file is still there.
    other = run(f"--workdir={workdir}", "--epochs=5", cwd=tmp_path)
    assert other.returncode == 1
    assert "other settings (epochs: there 4, asked 5)" in other.stderr
    assert (workdir / "convert/model_int8.tflite").read_bytes() == before
