"""Command: from images and a latency table to a checked int8 file, in one go.

    python -m nas_tf.pipeline --flagfile=flags/quickstart.flags
    python -m nas_tf.pipeline --workdir=runs/mine --dataset=photos/ --target_latency_ms=20

Of all commands this one alone reaches into the rooms after its own.
"""

from absl import flags

from flags import common, devices
from flags.pipeline import pipeline_config
from nas_tf.base import cli
from nas_tf.base.errors import require


def main() -> None:
    """Runs every stage that has not ended yet."""
    from export.pipeline_run import facts_for_people, run_pipeline

    require(
        devices.DISTRIBUTION.value == "off",
        f"--distribution={devices.DISTRIBUTION.value} is not for the whole pipeline; give it to "
        "nas_tf.search, nas_tf.train and quant.finetune with this --workdir, and the pipeline goes on with "
        "what they left.",
    )
    workdir = common.WORKDIR.value
    summary = run_pipeline(workdir, pipeline_config())
    cli.print_facts(
        "pipeline", facts_for_people(summary), f"python -m quant.audit --model={summary['convert']['output']}"
    )


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    cli.run(main)
