"""Command: one self-contained HTML page about a run.

python -m export.report --workdir=runs/quickstart
"""

from absl import flags

from flags import common
from nas_tf.base import cli


def main() -> None:
    """Writes `<workdir>/report.html`."""
    from export.report_run import write_report

    path = write_report(common.WORKDIR.value)
    cli.print_facts("report", {"report": path})


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    cli.run(main, resumes=False)
