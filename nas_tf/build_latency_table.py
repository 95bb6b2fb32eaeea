"""Command: measure a latency table on this machine or on a phone.

python -m nas_tf.build_latency_table --output=runs/table.json --resolution=160
"""

import dataclasses

from absl import flags

from flags import common, paths
from flags.latency import kernels_given, latency_config
from nas_tf.base import cli
from nas_tf.base.errors import require
from nas_tf.base.run_folder import TABLE
from nas_tf.latency.build import BuildConfig
from nas_tf.latency.build_run import facts_for_people, run_build_table
from nas_tf.latency.kernels import keep_begun_kernels

_OUTPUT = paths.DEFINE_path(
    "output", "", "JSON file to write. Default: <workdir>/build_latency_table/latency_table.json."
)
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes",
    BuildConfig.num_classes,
    "Outputs of the classifier: the classes of the data set.",
    lower_bound=1,
    upper_bound=1_000_000,
)
_BUDGET = flags.DEFINE_float(
    "target_latency_ms",
    BuildConfig.budget_ms,
    "The budget to come, if it is known: whole networks are measured that take half of it to twice as "
    "much. 0: from the fastest network to four times its latency.",
    lower_bound=0.0,
)


def main() -> None:
    """Builds the table and prints what it is of."""
    require(bool(common.WORKDIR.value or _OUTPUT.value), "Give --output or --workdir.")
    cli.check_outputs(_OUTPUT.value)
    config = latency_config(_OUTPUT.value, _NUM_CLASSES.value, _BUDGET.value)
    if not kernels_given():
        device = keep_begun_kernels(config.device, common.WORKDIR.value or "", TABLE)
        config = dataclasses.replace(config, device=device)
    summary = run_build_table(common.WORKDIR.value or "", config)
    cli.print_facts(
        "Latency table",
        facts_for_people(summary),
        f"python -m nas_tf.search --latency_table={summary['output']} --workdir=… "
        "--target_latency_ms=… --dataset=…",
    )


if __name__ == "__main__":
    cli.run(main)
