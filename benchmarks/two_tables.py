"""Two latency tables of one space side by side: the same entries on two runtimes, kernels or devices.

python -m benchmarks.two_tables --first=builtin.json --second=xnnpack.json --plot=two_tables.svg
"""

from collections.abc import Iterable

import numpy as np
from absl import flags

from benchmarks.table_figures import kind, ratios
from flags import paths
from nas_tf.base import cli, files
from nas_tf.base.errors import require
from nas_tf.latency.keys import parse_key
from nas_tf.latency.table import LatencyTable, load_table

_FIRST = paths.DEFINE_path("first", None, "A latency table.")
_SECOND = paths.DEFINE_path("second", None, "Another one, of the same space and resolution.")
_PLOT = paths.DEFINE_path("plot", "", "Also draw one against the other: .svg, .png or .pdf.")


def _name(table: LatencyTable) -> str:
    return f"{table.identity.kernels} kernels, {table.identity.device}"


def _draw(path: str, first: LatencyTable, second: LatencyTable, keys: Iterable[str]) -> None:
    # Not pyplot, which looks for a display and keeps every figure.
    from matplotlib.figure import Figure

    groups: dict[str, list[tuple[float, float]]] = {}
    for key in keys:
        point = (first.entries[key].median_ms, second.entries[key].median_ms)
        groups.setdefault(kind(parse_key(key)), []).append(point)
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    ends = np.array(
        [min(min(p) for g in groups.values() for p in g), max(max(p) for g in groups.values() for p in g)]
    )
    axes.plot(ends, ends, color="grey", linewidth=1, label="equal")
    for name in sorted(groups):
        axes.scatter(*np.transpose(groups[name]), s=14, label=name)
    axes.set(xscale="log", yscale="log", xlabel=f"ms, {_name(first)}", ylabel=f"ms, {_name(second)}")
    axes.legend()
    with files.replacing(path) as temporary:
        figure.savefig(temporary)


def main() -> None:
    """Prints how many times as long entries take in the second table as in the first."""
    cli.check_outputs(_PLOT.value)
    first, second = load_table(_FIRST.value), load_table(_SECOND.value)
    keys = sorted(first.entries.keys() & second.entries.keys())
    require(bool(keys), f"The tables {first.path!r} and {second.path!r} have no entry in common.")
    facts = {
        name: f"{len(values)} entries, {values.min():.2f} to {values.max():.2f} times, "
        f"median {np.median(values):.2f}"
        for name, values in ratios(first, second).items()
    }
    cli.print_facts(f"{_name(second)}, over {_name(first)}", facts)
    if _PLOT.value:
        _draw(_PLOT.value, first, second, keys)


if __name__ == "__main__":
    flags.mark_flags_as_required(["first", "second"])
    cli.run(main)
