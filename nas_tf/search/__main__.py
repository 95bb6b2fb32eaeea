"""Command: searches an architecture that meets a latency target.

    python -m nas_tf.search --workdir=runs/a --dataset=imagenet2012 --data_dir=... \
        --latency_table=table.json --target_latency_ms=35
"""

from absl import flags

from flags import common, devices
from flags import search as search_flags
from nas_tf.base import cli


def main() -> None:
    """Searches, or goes on with a search that was stopped."""
    workdir, config = common.WORKDIR.value, search_flags.search_config()
    with devices.workers() as workers:
        # Not at the top: TensorFlow and NumPy come with them, and --help or a wrong flag would wait for that.
        from nas_tf.latency.slow_entries import slow_for_people
        from nas_tf.search.run import run_search

        summary = run_search(workdir, config, workers)
    if workers.rank:
        return
    # The table's slow candidates as a sentence each.
    shown = {name: value for name, value in summary.items() if name != "slow_entries"} | slow_for_people(
        summary
    )
    cli.print_facts("searched", shown, f"python -m nas_tf.train --workdir={workdir}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "latency_table", "target_latency_ms"])
    cli.run(main)
