"""Kills a process of several at random moments, goes on with another number of them, and compares the end.

    python -m benchmarks.distributed_kills --folder=runs/kills
    python -m benchmarks.distributed_kills --folder=runs/kills --stages=train --kills=4 --kill_seed=7

Runs on the digits with `--shards=4`, made whole once by one process. Then the same is begun anew by two or
four processes, and one of them, drawn evenly, is ended by kill -9 at a moment drawn evenly from the time of a
run that is as long as the whole one. The same command goes on with 1, 2 and 4 processes in turn, and what it
ends with must be that of the whole run to the bit: weights, architectures, metrics, and the summary but for
its times. Also counted: processes that are left, half-written files, and wrong endings: tracebacks, and
commands that say something else than that they lost a process, or that it did not come.
"""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

from absl import flags

from benchmarks.run_outcome import children, differences, half_written
from flags import paths
from nas_tf.base import cli, files
from nas_tf.base.errors import require
from nas_tf.base.run_folder import SEARCH, TRAIN, RunFolder

_COMMANDS = {SEARCH: "nas_tf.search", TRAIN: "nas_tf.train"}
_FOLDER = paths.DEFINE_path("folder", None, "Where the runs lie.")
_STAGES = flags.DEFINE_list("stages", list(_COMMANDS), f"Of {', '.join(_COMMANDS)}, in turn.")
_KILLS = flags.DEFINE_integer("kills", 10, "Over all stages.", lower_bound=1)
_SEED = flags.DEFINE_integer("kill_seed", 0, "Of the moments and of who is killed.", lower_bound=0)

_BEGUN, _RESUMED = (2, 4), (1, 2, 4)
_TABLE = ("--space=tiny", "--resolution=16", "--num_classes=10", "--num_runs=5", "--latency_extra_seconds=0")
_DATA = (
    *("--dataset=digits", "--train_split=train[:240]", "--eval_split=test[:80]", "--flip=false"),
    *("--resolution=16", "--shards=4", "--checkpoint_minutes=0.01"),
)
_WORK = {
    SEARCH: (
        *("--space=tiny", "--search_warmup_epochs=1", "--search_epochs=1", "--search_batch_size=24"),
        *("--search_held_out=0.2", "--gate_mode=full", "--search_min_crop_area=0.7"),
        "--target_latency_ms=0.05",
    ),
    TRAIN: ("--epochs=4", "--batch_size=24", "--min_crop_area=0.7", "--architecture=s8x2 1_3c8 3_3c8x2 h16"),
}
_LOST = (
    b"error: Lost ",
    b" did not come within 60 seconds",
    b" met, but TensorFlow did not connect them within 60 seconds",
)
_END_SECONDS = 300.0


def main() -> None:
    """Kills, goes on, compares, and prints what was found."""
    unknown = sorted(set(_STAGES.value) - set(_COMMANDS))
    require(not unknown, f"--stages={','.join(unknown)}; allowed: {', '.join(_COMMANDS)}.")
    print(f"seed {_SEED.value}", flush=True)
    folder, drawn = files.make_folder(_FOLDER.value), random.Random(_SEED.value)
    found = dict.fromkeys(("kills", "ended before", "differing", "left", "half-written", "wrong endings"), 0)
    for number in range(_KILLS.value):
        stage = _STAGES.value[number % len(_STAGES.value)]
        _whole(folder, stage)
        processes = drawn.choice(_BEGUN)
        share, victim = drawn.uniform(0, 1), drawn.randrange(processes)
        resumed = _RESUMED[number % len(_RESUMED)]
        for name, count in _trial(folder, stage, number, processes, victim, share, resumed).items():
            found[name] += count
    cli.print_facts("Killed processes", found)


def _whole(folder: pathlib.Path, stage: str) -> None:
    """Makes the table and, by one process, the run that others are compared with."""
    if not RunFolder(folder).latency_table.exists():
        _end(_start("nas_tf.build_latency_table", folder, *_TABLE), status=0)
    if RunFolder(folder / "whole").stage(stage).summary() is None:
        _end(_begin(folder, folder / "whole", stage, 1), status=0)


def _seconds(folder: pathlib.Path, stage: str, processes: int) -> float:
    """Of a run by so many processes that nothing interrupts, start included; it has to be equal, too."""
    record = folder / f"{stage}_{processes}.time.json"
    if not record.exists():
        workdir, began = folder / f"{stage}_by_{processes}", time.monotonic()
        shutil.rmtree(workdir, ignore_errors=True)
        _end(_begin(folder, workdir, stage, processes), status=0)
        files.write_json(record, {"seconds": time.monotonic() - began})
        require(not (found := differences(folder / "whole", workdir, stage)), f"{workdir}: {found}")
    return files.read_json(record, "time")["seconds"]


def _trial(
    folder: pathlib.Path, stage: str, number: int, processes: int, victim: int, share: float, resumed: int
) -> dict[str, int]:
    """One run: begun by `processes`, of which `victim` is killed, and gone on with by `resumed`."""
    workdir, after = folder / f"{stage}_{number}", share * _seconds(folder, stage, processes)
    shutil.rmtree(workdir, ignore_errors=True)
    counted = _killed(_begin(folder, workdir, stage, processes), victim, after)
    counted["half-written"] = len(half_written(workdir)) if workdir.exists() else 0
    _end(_begin(folder, workdir, stage, resumed), status=0)
    found = differences(folder / "whole", workdir, stage)
    print(
        f"{stage}: of {processes} processes number {victim} killed after {after:.1f} s, gone on with by "
        f"{resumed}: {'; '.join(found) or 'equal'}",
        flush=True,
    )
    return counted | {"differing": int(bool(found))}


def _killed(process: subprocess.Popen, victim: int, after: float) -> dict[str, int]:
    """Kills one of a command's processes, and looks how the others end."""
    try:
        process.wait(after)
        return {"ended before": 1}
    except subprocess.TimeoutExpired:
        workers = children(process.pid)
    # A process that does not run yet, or no more, is as good as the chief.
    of_worker = 0 < victim <= len(workers)
    os.kill(workers[victim - 1] if of_worker else process.pid, signal.SIGKILL)
    said = _end(process)
    ended_well = process.returncode == 0  # in the same moment
    explained = not of_worker or any(sentence in said for sentence in _LOST)
    wrong = b"Traceback" in said or not (ended_well or explained)
    if wrong:
        print(f"status {process.returncode}: {said.decode()[-500:]}", file=sys.stderr)
    return {"kills": 1, "left": _left(workers), "wrong endings": int(wrong)}


def _left(workers: list[int]) -> int:
    """How many of them do not end by themselves; ends those."""
    end = time.monotonic() + _END_SECONDS
    while (alive := [pid for pid in workers if _alive(pid)]) and time.monotonic() < end:
        time.sleep(0.2)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    return len(alive)


def _alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _begin(folder: pathlib.Path, workdir: pathlib.Path, stage: str, processes: int) -> subprocess.Popen:
    table = (f"--latency_table={RunFolder(folder).latency_table}",) if stage == SEARCH else ()
    several = ("--distribution=multi_worker", f"--num_devices={processes}", "--worker_wait_seconds=60")
    shared = several if processes > 1 else ()
    return _start(_COMMANDS[stage], workdir, *_DATA, *_WORK[stage], *table, *shared)


def _start(module: str, workdir: pathlib.Path, *arguments: str) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    return subprocess.Popen(
        [sys.executable, "-m", module, f"--workdir={workdir}", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # Bits are equal for equal numbers of threads.
        env=environment | {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"},
    )


def _end(process: subprocess.Popen, status: int | None = None) -> bytes:
    """What a command has said on its error stream by its end; `UserError` at another status than asked."""
    try:
        said = process.communicate()[1]
    except BaseException:  # this script itself is being ended: it leaves nobody behind
        process.kill()
        raise
    require(status is None or process.returncode == status, f"A run failed by itself: {said.decode()[-500:]}")
    return said


if __name__ == "__main__":
    flags.mark_flag_as_required("folder")
    cli.run(main)
