"""Kills runs at random moments and compares how they end with a run that nothing interrupted.

    python -m benchmarks.random_kills --folder=runs/kills --kills=60 --sigterms=20
    python -m benchmarks.random_kills --folder=runs/kills --stages=train --kills=5 --sigterms=0

For each stage a small run on the digits is made whole once and timed. Then the same command is started
anew and ended at moments drawn evenly from that time, several times a run, and left alone at last. What
must be equal to the bit: weights, architectures, metrics, the `.tflite` file, and the summary but for its
times and paths. Also counted: files left half written, tracebacks, and other exit statuses than the
signal's. Of a table, timings differ from run to run; its identity and its entries must be the same.
"""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

from absl import flags

from benchmarks.run_outcome import differences, half_written
from flags import paths
from nas_tf.base import cli, files
from nas_tf.base.errors import require
from nas_tf.base.run_folder import FINETUNE, PIPELINE, SEARCH, TABLE, TRAIN, RunFolder

# Stages whose results a stage starts from.
_NEEDS = {TABLE: (), SEARCH: (TABLE,), TRAIN: (), FINETUNE: (TRAIN,), PIPELINE: (TABLE,)}
_COMMANDS = {
    TABLE: "nas_tf.build_latency_table",
    SEARCH: "nas_tf.search",
    TRAIN: "nas_tf.train",
    FINETUNE: "quant.finetune",
    PIPELINE: "nas_tf.pipeline",
}
_FOLDER = paths.DEFINE_path("folder", None, "Where the runs lie.")
_STAGES = flags.DEFINE_list("stages", list(_COMMANDS), f"Of {', '.join(_COMMANDS)}.")
_KILLS = flags.DEFINE_integer("kills", 60, "kill -9, over all stages.", lower_bound=0)
_SIGTERMS = flags.DEFINE_integer("sigterms", 20, "SIGTERM, over all stages.", lower_bound=0)
_PER_RUN = flags.DEFINE_integer("per_run", 4, "Interruptions of one run, at most.", lower_bound=1)
_SEED = flags.DEFINE_integer("kill_seed", 0, "Of the moments.", lower_bound=0)

_DATA = ("--dataset=digits", "--flip=false", "--min_crop_area=0.7", "--resolution=16")
# So that a kill falls between saves as well as upon one.
_OFTEN = ("--checkpoint_minutes=0.01",)
_SEARCH = (
    *("--space=tiny", "--search_warmup_epochs=1", "--search_epochs=2", "--search_batch_size=32"),
    *("--search_held_out=0.2", "--gate_mode=full", "--search_min_crop_area=0.7"),
)
_TRAIN = ("--epochs=4", "--batch_size=32", "--dropout=0.1")
_NETWORK = "s8x2 1_3c8 3_3c16x2 3_3c16 6_5c32x2 h64"
_FINETUNE = ("--steps=60", "--finetune_calibration_images=128")


def main() -> None:
    """Interrupts every stage in turn and prints what was found."""
    unknown = sorted(set(_STAGES.value) - set(_COMMANDS))
    require(not unknown, f"--stages={','.join(unknown)}; allowed: {', '.join(_COMMANDS)}.")
    print(f"seed {_SEED.value}", flush=True)
    folder = files.make_folder(_FOLDER.value)
    moments = random.Random(_SEED.value)
    counted = {}
    for number, stage in enumerate(_STAGES.value):
        shares = [_share(total.value, number) for total in (_KILLS, _SIGTERMS)]
        found = _Trial(folder, stage, moments).run(*shares)
        counted[stage] = ", ".join(f"{count} {what}" for what, count in found.items())
        print(f"{stage}: {counted[stage]}", flush=True)
    cli.print_facts("Interruptions", counted)


def _share(total: int, number: int) -> int:
    stages = len(_STAGES.value)
    return (number + 1) * total // stages - number * total // stages


class _Trial:
    """Interrupted runs of one stage, beside a whole one."""

    def __init__(self, folder: pathlib.Path, stage: str, moments: random.Random):
        self._folder, self._stage, self._moments = folder, stage, moments
        self._found: dict[str, int] = {}

    def run(self, kills: int, sigterms: int) -> dict[str, int]:
        """What was counted."""
        whole = self._folder / "whole"
        seconds = self._whole(whole)
        left = [signal.SIGKILL] * kills + [signal.SIGTERM] * sigterms
        self._moments.shuffle(left)
        self._found = dict.fromkeys(
            ("runs", "kills", "SIGTERMs", "differing", "half-written files", "wrong endings"), 0
        )
        while left:
            signals, left = left[: _PER_RUN.value], left[_PER_RUN.value :]
            self._interrupted(whole, signals, seconds)
        return self._found

    def _whole(self, workdir: pathlib.Path) -> float:
        """Makes what the stage needs and the stage itself; returns its time in seconds."""
        for before in _NEEDS[self._stage]:
            said = _ended(self._start(workdir, before))
            require(RunFolder(workdir).stage(before).summary() is not None, said.decode()[-500:])
        target = workdir.with_name("whole_pipeline") if self._stage == PIPELINE else workdir
        record = target / f"{self._stage}.time.json"
        if not record.exists():
            shutil.rmtree(RunFolder(target).stage(self._stage).path, ignore_errors=True)
            began = time.monotonic()
            process = self._start(target, self._stage)
            said = _ended(process)
            require(process.returncode == 0, f"The {self._stage} failed by itself: {said.decode()[-500:]}")
            files.write_json(record, {"seconds": time.monotonic() - began})
        return files.read_json(record, "time")["seconds"]

    def _interrupted(self, whole: pathlib.Path, signals: list[int], seconds: float) -> None:
        """One run, ended by each of the signals in turn, and then left alone."""
        workdir = self._folder / f"{self._stage}_{self._found['runs']}"
        shutil.rmtree(workdir, ignore_errors=True)
        self._copy_inputs(whole, workdir)
        self._found["runs"] += 1
        for number in signals:
            # Over the time of a whole run, so that starting up, saving and ending are all met.
            if self._interrupt(workdir, number, self._moments.uniform(0, seconds)):
                self._found["kills" if number == signal.SIGKILL else "SIGTERMs"] += 1
            self._found["half-written files"] += len(half_written(workdir))
        process = self._start(workdir, self._stage)
        said = _ended(process)
        if process.returncode != 0:
            self._found["wrong endings"] += 1
            print(said.decode()[-500:], file=sys.stderr)
        reference = whole.with_name("whole_pipeline") if self._stage == PIPELINE else whole
        found = differences(reference, workdir, self._stage)
        self._found["differing"] += bool(found)
        for text in found:
            print(f"{workdir}: {text}", flush=True)

    def _interrupt(self, workdir: pathlib.Path, number: int, after: float) -> bool:
        """Whether the run was still going when its moment came."""
        process = self._start(workdir, self._stage)
        try:
            process.wait(after)
            return False
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        said = _ended(process)
        # A run that ends in the same moment ends well. Before the command has begun to listen, SIGTERM
        # ends it as it ends any program.
        expected = (0, -number, 128 + number) if number == signal.SIGTERM else (0, -number)
        if process.returncode not in expected or b"Traceback" in said:
            self._found["wrong endings"] += 1
            print(f"status {process.returncode}: {said.decode()[-500:]}", file=sys.stderr)
        return True

    def _copy_inputs(self, whole: pathlib.Path, workdir: pathlib.Path) -> None:
        # The pipeline is given the table's path.
        for name in _NEEDS[self._stage] if self._stage != PIPELINE else ():
            shutil.copytree(RunFolder(whole).stage(name).path, RunFolder(workdir).stage(name).path)

    def _start(self, workdir: pathlib.Path, stage: str) -> subprocess.Popen:
        files.make_folder(workdir)
        # Where a table of the run itself would be another one each time, as the milliseconds are.
        table = RunFolder(self._folder / "whole").latency_table
        budget: tuple[Any, ...] = (f"--latency_table={table}", "--target_latency_ms=0.05")
        arguments = {
            TABLE: ("--space=tiny", "--resolution=16", "--num_classes=10", "--num_runs=20"),
            SEARCH: (*_DATA, *_SEARCH, *budget, *_OFTEN),
            TRAIN: (*_DATA, *_TRAIN, f"--architecture={_NETWORK}", *_OFTEN),
            FINETUNE: (*_DATA[:3], *_FINETUNE, *_OFTEN),
            PIPELINE: (*_DATA, *_SEARCH, *_TRAIN, *_FINETUNE, *budget, *_OFTEN, "--num_runs=10"),
        }[stage]
        if stage in (TABLE, PIPELINE):
            arguments += ("--latency_extra_seconds=0",)
        return subprocess.Popen(
            [sys.executable, "-m", _COMMANDS[stage], f"--workdir={workdir}", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Sums of several threads differ in their last bits, from run to run.
            env=os.environ | {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"},
        )


def _ended(process: subprocess.Popen) -> bytes:
    """What a command has said on its error stream by its end."""
    try:
        return process.communicate()[1]
    except BaseException:  # this script itself is being ended: it leaves nobody behind
        process.kill()
        raise


if __name__ == "__main__":
    flags.mark_flag_as_required("folder")
    cli.run(main)
