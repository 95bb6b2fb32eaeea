"""Command: trains the compact network in float.

    python -m nas_tf.train --workdir=runs/a --architecture=proxyless_mobile \
        --dataset=imagenet2012 --data_dir=... --epochs=300
"""

from absl import flags

from flags import common, devices
from flags import train as train_flags
from nas_tf.base import cli


def main() -> None:
    """Trains, or goes on with a run that was stopped."""
    workdir, config = common.WORKDIR.value, train_flags.train_config()
    with devices.workers() as workers:
        # Not at the top: TensorFlow comes with it, and --help or a wrong flag would wait for that.
        from nas_tf.train.run import run_train

        summary = run_train(workdir, config, workers)
    if workers.rank == 0:
        cli.print_facts("trained", summary, f"python -m quant.finetune --workdir={workdir}")


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    cli.run(main)
