"""Command: the networks of the paper's Table 1, predicted and measured beside published.

python -m export.table1 --output=runs/table1.json --run=runs/proxylessnas_160_1.0
"""

from absl import flags

from export.table1_run import Table1Config, as_markdown, run_table1
from flags import latency, paths
from nas_tf.base import cli

_RUNS = paths.DEFINE_multi_path(
    "run",
    "Run folder of a network of the table that was evaluated: its accuracy is shown beside the paper's. "
    "May be given several times.",
)
_OUTPUT = paths.DEFINE_path("output", None, "JSON file to write; a .md goes beside it.")


def main() -> None:
    """Measures and prints the table."""
    cli.check_outputs(_OUTPUT.value)
    config = Table1Config(
        _OUTPUT.value,
        latency.CACHE_DIR.value,
        tuple(_RUNS.value),
        latency.DTYPE.value,
        latency.device_config(),
        latency.timing_config(),
    )
    summary = run_table1(config)
    print(as_markdown(summary))
    cli.print_facts("Table 1", {"rows": len(summary["rows"]), "output": _OUTPUT.value})


if __name__ == "__main__":
    flags.mark_flag_as_required("output")
    cli.run(main, resumes=False)
