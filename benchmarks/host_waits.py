"""How often 100 steps of each stage wait for their device.

    python -m benchmarks.host_waits
    python -m benchmarks.host_waits --parts=full,training

The device is a second logical processor, on which all lies that a GPU would hold. Each time Python reads a
value that lies there counts: on a GPU it would wait for all that was given to it. Counted from step 50 to 150
of an epoch, so without what an epoch's end and its checkpoint read; then a part is broken off, but for
training, which fine-tuning begins with.
"""

import contextlib
import functools
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any
from unittest import mock

from absl import flags

from nas_tf.base import cli
from nas_tf.base.errors import require
from nas_tf.base.progress import Progress
from nas_tf.data.config import NO_AUGMENTATION, DataConfig
from nas_tf.latency.entries import Entry, Identity
from nas_tf.latency.table import LatencyTable, save_table
from nas_tf.space.search_space import SPACES

_DEVICE = "/device:CPU:1"
_SPACE, _RESOLUTION, _CLASSES = "tiny", 16, 10
_FIRST, _LAST = 50, 150
_STEPS, _BATCH = 160, 4  # of an epoch
_SEARCHES: dict[str, dict[str, Any]] = {
    "full": {"gate_mode": "full"},
    "two": {"gate_mode": "two"},
    "reinforce": {"algorithm": "reinforce", "latency_loss": "mul_log"},
}
_TRAINING, _FINETUNING = "training", "fine-tuning"
_PARTS = flags.DEFINE_list(
    "parts",
    # A full step reads as often as one of two paths, and takes longer.
    ["two", "reinforce", _TRAINING, _FINETUNING],
    f"Of {', '.join(_SEARCHES)} (searches), {_TRAINING}, {_FINETUNING}, which needs {_TRAINING}.",
)


def main() -> None:
    """Runs all stages and prints a line for each."""
    unknown = sorted(set(_PARTS.value) - {*_SEARCHES, _TRAINING, _FINETUNING})
    require(
        not unknown, f"--parts={','.join(unknown)}; allowed: full, two, reinforce, training, fine-tuning."
    )
    require(
        _FINETUNING not in _PARTS.value or _TRAINING in _PARTS.value,
        f"--parts: {_FINETUNING} needs {_TRAINING}.",
    )
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    found: dict[str, int] = {}

    def note(name: str, reads: int) -> None:
        found[name] = reads
        print(f"{name}: {reads}", flush=True)  # now, for all of them take minutes

    with tempfile.TemporaryDirectory() as folder, tf.device(_DEVICE):
        root = pathlib.Path(folder)
        table = _table(root / "table.json")
        for name in (name for name in _SEARCHES if name in _PARTS.value):
            search = functools.partial(_search, root / name, table, **_SEARCHES[name])
            warm_up, joint = _epochs(search, stop_at=_STEPS + _LAST)
            note(f"search, {name}, warm-up", warm_up)
            note(f"search, {name}, 20 architecture steps", joint)
        if _TRAINING in _PARTS.value:
            note(_TRAINING, _epochs(lambda: _train(root / "net"))[0])
        if _FINETUNING in _PARTS.value:
            note(_FINETUNING, _epochs(lambda: _finetune(root / "net"), stop_at=_LAST)[0])
    cli.print_facts("Reads of the device in 100 steps", found)


class _Enough(Exception):
    """What was to be counted is counted."""


def _epochs(run: Callable[[], None], stop_at: int = -1) -> list[int]:
    """Reads between the two steps of each epoch that `run` has, or has until step `stop_at`."""
    from benchmarks.host_reads import counted

    at: dict[int, int] = {}
    with (
        contextlib.suppress(_Enough),
        counted(lambda tensor: tensor.device.endswith(_DEVICE)) as count,
        _noting(at, count, stop_at),
    ):
        run()
    return [at[step + _LAST - _FIRST] - reads for step, reads in at.items() if step % _STEPS == _FIRST]


def _noting(at: dict[int, int], count: Any, stop_at: int):
    update = Progress.update

    def noted(self, step, *args, **figures):
        update(self, step, *args, **figures)
        at.setdefault(step, count.reads)
        if step == stop_at:
            raise _Enough

    return mock.patch.object(Progress, "update", noted)


def _table(path: pathlib.Path) -> str:
    specs = SPACES[_SPACE].latency_specs(_RESOLUTION, _CLASSES)
    identity = Identity("made up", "host", "none", "builtin", 1, "int8", _SPACE, _RESOLUTION, 1.0, _CLASSES)
    entries = {key: Entry(0.3 * spec.macs / 1e6 + 0.01) for key, spec in specs.items()}
    save_table(path, LatencyTable(identity, entries, 0.02))
    return str(path)


def _data(images: int) -> DataConfig:
    return DataConfig("digits", train_split=f"train[:{images}]", eval_split="test[:40]")


def _search(workdir: pathlib.Path, table: str, **settings) -> None:
    from nas_tf.search.config import Budget, SearchConfig, SearchSchedule
    from nas_tf.search.run import run_search

    held_out = 40
    schedule = SearchSchedule(warmup_epochs=1, epochs=1, batch_size=_BATCH, alpha_every=5, held_out=held_out)
    config = SearchConfig(
        _data(_STEPS * _BATCH + held_out),
        table,
        Budget(0.2),
        NO_AUGMENTATION,
        space=_SPACE,
        resolution=_RESOLUTION,
        schedule=schedule,
        **settings,
    )
    run_search(str(workdir), config)


def _train(workdir: pathlib.Path) -> None:
    from nas_tf.train.config import TrainConfig
    from nas_tf.train.run import run_train

    config = TrainConfig(
        _data(_STEPS * _BATCH),
        NO_AUGMENTATION,
        architecture="s8x2 1_3c8 3_3c8x2 3_3c8 h16",
        resolution=_RESOLUTION,
        epochs=1,
        batch_size=_BATCH,
    )
    run_train(str(workdir), config)


def _finetune(workdir: pathlib.Path) -> None:
    from quant.finetune_config import FinetuneConfig
    from quant.finetune_run import run_finetune

    config = FinetuneConfig(
        _data(_STEPS * _BATCH),
        NO_AUGMENTATION,
        steps=3000,  # so that no line of the log falls between the two steps
        batch_size=_BATCH,
        rounding="nearest",
        calibration_images=8,
    )
    run_finetune(str(workdir), config)


if __name__ == "__main__":
    cli.run(main)
