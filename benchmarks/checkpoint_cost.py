"""What saving costs: the share of a run's time that checkpoints take, and what digests add.

    python -m benchmarks.checkpoint_cost --workdir=runs/cost --dataset=digits --architecture=… --epochs=4
    python -m benchmarks.checkpoint_cost --megabytes=10,100

The first trains, with the flags of nas_tf.train, and adds up the time spent in saves; at its start and end
it says how long a save took on average. The second saves a state of so many megabytes, in 300 variables, a
few times: with TensorFlow's writer alone, and as runs do it, with digests, flushed to the disk.
"""

import pathlib
import statistics
import tempfile
import time

from absl import flags

from flags import common, train
from nas_tf.base import cli, files
from nas_tf.base.errors import require

_MEGABYTES = flags.DEFINE_list("megabytes", [], "Sizes of made-up states to save instead of training.")
_VARIABLES = 300  # about as many as a network of Table 1 has with its optimizer's slots
_REPEATS = 5


def main() -> None:
    """Prints the shares."""
    if _MEGABYTES.value:
        cli.print_facts("Saving a state", {f"{size} MB": _made_up(float(size)) for size in _MEGABYTES.value})
        return
    require(bool(common.WORKDIR.value), "Give --workdir of a run to train, or --megabytes.")
    cli.print_facts("Checkpoints of a training run", _trained())


def _trained() -> dict[str, str]:
    from nas_tf.base.checkpoints import RunCheckpoint
    from nas_tf.train.run import run_train

    save, seconds = RunCheckpoint.save, []

    def timed(self: RunCheckpoint, step: int) -> None:
        began = time.monotonic()
        save(self, step)
        seconds.append(time.monotonic() - began)

    RunCheckpoint.save = timed  # type: ignore[method-assign]
    summary = run_train(common.WORKDIR.value, train.train_config())
    share = sum(seconds) / summary["seconds"]
    return {
        "saves": f"{len(seconds)}, of {statistics.median(seconds):.3f} s (median)",
        "run": f"{summary['seconds']:.1f} s",
        "share of the run": f"{share:.2%}",
    }


def _made_up(megabytes: float) -> str:
    import tensorflow as tf

    from nas_tf.base.checkpoints import RunCheckpoint

    each = round(megabytes * 1e6 / 4 / _VARIABLES)
    state = [tf.Variable(tf.random.normal([each])) for _ in range(_VARIABLES)]
    with tempfile.TemporaryDirectory(dir=files.make_folder("runs")) as folder:
        plain, whole = [], []
        checkpoint, writer = RunCheckpoint(folder, state=state), tf.train.Checkpoint(state=state)
        for step in range(_REPEATS):
            began = time.monotonic()
            writer.write(str(pathlib.Path(folder) / "plain"))
            plain.append(time.monotonic() - began)
            began = time.monotonic()
            checkpoint.save(step + 1)
            whole.append(time.monotonic() - began)
    seconds = statistics.median(whole)
    return (
        f"{seconds:.3f} s, by TensorFlow alone {statistics.median(plain):.3f} s (medians of {_REPEATS}); "
        f"every 10 minutes: {seconds / 600:.3%}"
    )


if __name__ == "__main__":
    cli.run(main)
