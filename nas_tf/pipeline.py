"""Command: from images and a latency table to a checked int8 file, in one go.

    python -m nas_tf.pipeline --flagfile=flags/quickstart.flags
    python -m nas_tf.pipeline --workdir=runs/mine --dataset=photos/ --target_latency_ms=20
    python -m nas_tf.pipeline … --shards=4 --distribution=multi_worker --num_devices=4

Of all commands this one alone reaches into the rooms after its own.
"""

from absl import flags

from flags import common, devices
from flags.pipeline import pipeline_config
from nas_tf.base import cli


def main() -> None:
    """Runs every stage that has not ended yet."""
    workdir, config = common.WORKDIR.value, pipeline_config()
    with devices.workers() as workers:
        # Not at the top: TensorFlow comes with it, and --help or a wrong flag would wait for that.
        from export.pipeline_run import facts_for_people, run_pipeline

        summary = run_pipeline(workdir, config, workers)
    if workers.rank:
        return
    cli.print_facts(
        "pipeline", facts_for_people(summary), f"python -m quant.audit --model={summary['convert']['output']}"
    )


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    cli.run(main)
