"""Commands that start processes of their own: the same bits, and what is said and left when one ends."""

import hashlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.run_outcome import differences
from nas_tf.base.run_folder import PIPELINE
from tests.search.helpers import write_table

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TRAIN = (
    *("--dataset=digits", "--train_split=train[:96]", "--eval_split=test[:40]", "--noflip"),
    *("--architecture=s8x2 1_3c8 3_3c8x2 3_3c8 h16", "--resolution=16", "--min_crop_area=0.7"),
    *("--batch_size=24", "--learning_rate=0.1", "--ema_decay=0.9", "--epochs=2"),
)
SEVERAL = "--distribution=multi_worker"


def command(workdir, *flags, module="nas_tf.train", work=TRAIN) -> list[str]:
    return [sys.executable, "-m", module, f"--workdir={workdir}", *work, *flags]


def start(*args, **kwargs) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    # One thread for each operation, in which alone bits are equal, and a core that all share.
    environment |= {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    environment |= kwargs.pop("env", {})
    return subprocess.Popen(
        command(*args, **kwargs),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=REPOSITORY,
        env=environment,
    )


def run(*args, status: int = 0, **kwargs) -> str:
    process = start(*args, **kwargs)
    output, _ = process.communicate(timeout=1200)
    assert process.returncode == status, output[-3000:]
    return output


def outcome(workdir) -> dict[str, str]:
    """Digests of the network and the figures."""
    files = [*(workdir / "train" / "model").iterdir(), workdir / "train" / "metrics.jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def children(process: subprocess.Popen) -> list[int]:
    """The processes that a command has started."""
    return [
        int(pid)
        for pid in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]


def until(condition, process: subprocess.Popen, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> pathlib.Path:
    """A run of one process with four shards."""
    workdir = tmp_path_factory.mktemp("alone")
    run(workdir, "--shards=4")
    return workdir


def test_two_processes_end_with_the_bits_of_one(alone, tmp_path):
    output = run(tmp_path, "--shards=4", SEVERAL, "--num_devices=2")
    assert outcome(tmp_path) == outcome(alone)
    # One of them speaks.
    assert output.count("epoch 2/2") == 1 and output.count("\ntrained\n") == 1


@pytest.mark.parametrize(
    "flags,message",
    [
        (("--distribution=tpu",), "a TPU needs `TPUStrategy`, steps that XLA compiles whole"),
        (("--num_devices=2",), "--num_devices=2 needs --distribution=multi_worker."),
        ((SEVERAL,), "set --num_devices to start them on this machine, or TF_CONFIG"),
        ((SEVERAL, "--num_devices=many"), "--num_devices='many'; allowed: auto, or 1 to 1024."),
        ((SEVERAL, "--num_devices=2", "--worker_lost_seconds=0"), "must be at least 2, not 0."),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(tmp_path, flags, message):
    output = run(tmp_path / "run", *flags, status=1)
    assert message in output and "Traceback" not in output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_shards_that_cannot_be_divided_are_refused(tmp_path):
    output = run(tmp_path, "--shards=3", SEVERAL, "--num_devices=2", status=1)
    assert "error: --shards=3 cannot be divided among 2 processes; use a multiple of 2." in output
    output = run(tmp_path, "--shards=5", status=1)
    assert "error: --batch_size of 24 images cannot be cut into --shards=5 equal parts." in output


@pytest.mark.slow
def test_four_processes_end_with_the_bits_of_one(alone, tmp_path):
    run(tmp_path, "--shards=4", SEVERAL, "--num_devices=4")
    assert outcome(tmp_path) == outcome(alone)


LONG = ("--shards=4", "--epochs=12", "--checkpoint_minutes=0.01")


@pytest.fixture(scope="module")
def long_alone(tmp_path_factory) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("long")
    run(workdir, *LONG)
    return workdir


def begun(workdir, processes: int, *flags) -> subprocess.Popen:
    """A long run that has saved something."""
    process = start(workdir, *LONG, SEVERAL, f"--num_devices={processes}", *flags)
    until(lambda: _saved(workdir), process)
    return process


def _saved(workdir) -> bool:
    return any((workdir / "train" / "checkpoint").glob("ckpt-*.index"))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_a_killed_worker_ends_all_and_any_number_goes_on(long_alone, tmp_path, processes):
    process = begun(tmp_path, 2)
    time.sleep(random.Random(processes).uniform(0, 1))
    (worker,) = children(process)
    os.kill(worker, signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and "Traceback" not in output
    assert "error: Lost worker 1 (127.0.0.1:" in output
    assert "the same command goes on from the last checkpoint" in output
    several = (SEVERAL, f"--num_devices={processes}") if processes > 1 else ()
    run(tmp_path, *LONG, *several)
    assert outcome(tmp_path) == outcome(long_alone)


@pytest.mark.slow
def test_a_frozen_worker_is_lost_after_the_time_given(long_alone, tmp_path):
    process = begun(tmp_path, 2, "--worker_lost_seconds=8")
    (worker,) = children(process)
    os.kill(worker, signal.SIGSTOP)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "error: Lost worker 1" in output and "nothing was heard of it for 8 seconds" in output
    assert not pathlib.Path(f"/proc/{worker}").exists()


@pytest.mark.slow
def test_a_killed_chief_ends_the_others(tmp_path):
    process = begun(tmp_path, 2)
    (worker,) = children(process)
    process.kill()
    process.communicate()
    end = time.monotonic() + 120
    while pathlib.Path(f"/proc/{worker}").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not pathlib.Path(f"/proc/{worker}").exists()


@pytest.mark.slow
@pytest.mark.parametrize("who", ["chief", "worker"])
def test_sigterm_of_one_saves_and_ends_all(long_alone, tmp_path, who):
    process = begun(tmp_path, 2)
    (worker,) = children(process)
    os.kill(process.pid if who == "chief" else worker, signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 143, output
    assert "Stopped by SIGTERM. This goes on with it:" in output
    run(tmp_path, *LONG, SEVERAL, "--num_devices=2")
    assert outcome(tmp_path) == outcome(long_alone)


WHOLE = (
    *("--dataset=digits", "--train_split=train[:240]", "--eval_split=test[:40]", "--noflip"),
    *("--resolution=16", "--min_crop_area=0.7", "--space=tiny", "--target_latency_ms=0.2"),
    *("--search_warmup_epochs=1", "--search_epochs=1", "--search_batch_size=16", "--search_held_out=0.2"),
    *("--gate_mode=full", "--epochs=2", "--batch_size=24", "--steps=6", "--finetune_batch_size=16"),
    *("--finetune_calibration_images=16", "--num_runs=5", "--latency_extra_seconds=0", "--shards=4"),
)


@pytest.mark.slow
def test_a_pipeline_of_two_processes_ends_with_the_bits_of_one(tmp_path):
    """From the search to the int8 file; the second is killed in training and goes on."""
    work = (*WHOLE, f"--latency_table={write_table(tmp_path / 'table.json', 'tiny', 16)}")
    run(tmp_path / "one", module="nas_tf.pipeline", work=work)
    several = (SEVERAL, "--num_devices=2")
    process = start(
        tmp_path / "two", *several, "--checkpoint_minutes=0.01", module="nas_tf.pipeline", work=work
    )
    until(lambda: _saved(tmp_path / "two"), process)
    (worker,) = children(process)
    os.kill(worker, signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1 and "error: Lost worker 1 (127.0.0.1:" in output
    output = run(tmp_path / "two", *several, module="nas_tf.pipeline", work=work)
    assert differences(tmp_path / "one", tmp_path / "two", PIPELINE) == []
    # One of them speaks.
    assert output.count("[6/6] benchmark") == 1 and output.count("\npipeline\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("number,status", [(signal.SIGTERM, 143), (signal.SIGKILL, 1)])
def test_a_worker_that_ends_while_the_chief_measures_ends_it_too(tmp_path, number, status):
    """The table is the chief's work alone, and would take an hour; nobody waits for that."""
    process = start(
        tmp_path, "--num_runs=100000", SEVERAL, "--num_devices=2", module="nas_tf.pipeline", work=WHOLE
    )
    stage = tmp_path / "build_latency_table"
    until(stage.exists, process)
    time.sleep(2)
    (worker,) = children(process)
    os.kill(worker, number)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status and "Traceback" not in output
    said = (
        "Stopped by SIGTERM. This goes on with it:" if status == 143 else "error: Lost worker 1 (127.0.0.1:"
    )
    assert said in output and not (stage / "summary.json").exists()
    assert not pathlib.Path(f"/proc/{worker}").exists()
