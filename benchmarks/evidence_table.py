"""The table, the findings and the picture of searched networks beside others."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from benchmarks.evidence_networks import Network
from benchmarks.evidence_statistics import Interval, difference, mean_interval, rank_correlation, spread
from nas_tf.base import files
from nas_tf.base.errors import require
from nas_tf.base.run_folder import EVALUATE, TRAIN, RunFolder


@dataclasses.dataclass(frozen=True)
class Row:
    """One network's figures.

    Attributes:
      top1: float top-1 of every training seed that has ended.
      int8_top1: of the first seed's file; None where it was not made yet.
      float_top1: of the same seed on the same images.
      measured_ms: None where it was not timed yet.
    """

    network: Network
    top1: tuple[float, ...]
    int8_top1: float | None
    measured_ms: float | None
    params: int
    macs: int
    train_seconds: float

    @property
    def float_top1(self) -> float:
        return self.top1[0]


@dataclasses.dataclass(frozen=True)
class SearchCost:
    """What searches took.

    Attributes:
      seconds: of each that has ended.
      search_epochs, train_epochs: of a search, and of the training of one network.
    """

    seconds: Sequence[float]
    search_epochs: float
    train_epochs: float


def row(network: Network, folders: Sequence[str], measured_ms: float | None) -> Row:
    """Reads the summaries of a network's trainings, of which the first was converted."""
    trained = [s for f in folders if (s := RunFolder(f).stage(TRAIN).summary())]
    evaluated = RunFolder(folders[0]).stage(EVALUATE).summary()
    first = trained[0] if trained else {"params": 0, "macs": 0, "seconds": 0.0}
    return Row(
        network,
        tuple(s["top1"] for s in trained),
        evaluated["top1"] if evaluated else None,
        measured_ms,
        first["params"],
        first["macs"],
        first["seconds"],
    )


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table, one line for each network."""
    lines = [
        "| network | compared as | ms measured | params | multiply-adds | seeds | float top-1 | int8 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        time_ms = f"{r.measured_ms:.4f}" if r.measured_ms else "–"
        int8 = f"{r.int8_top1:.2%}" if r.int8_top1 is not None else "–"
        lines.append(
            f"| {r.network.name} | {r.network.group} | {time_ms} | {r.params:,} | {r.macs / 1e6:.2f} M "
            f"| {len(r.top1)} | {_percent(mean_interval(r.top1))} | {int8} |"
        )
    return "\n".join(lines)


def findings(
    rows: Sequence[Row],
    judged: Mapping[str, Sequence[float]],
    cost: SearchCost,
    searched: str,
    control: str,
) -> str:
    """What the comparison says, line by line.

    Args:
      rows: of networks with at least one training.
      judged: by a name, what the random networks were judged by, in order, such as shared weights.
      cost: of the searches.
      searched, control: groups: of the networks found, and of the random ones.
    """
    by_group = _by_group(rows)
    means = {group: [float(np.mean(r.top1)) for r in members] for group, members in by_group.items()}
    lines = ["", "Means over networks of their means over seeds, with 95 % intervals:"]
    lines += [
        f"  {group}: {_percent(mean_interval(values))} ({len(values)})" for group, values in means.items()
    ]
    if searched in means:
        lines += ["", "Searched less the others, in points, and its standard error:"]
        for group, values in means.items():
            if group != searched:
                d = difference(means[searched], values)
                lines.append(f"  {group}: {100 * d.mean:+.2f} ± {100 * d.error:.2f}")
        if control in means:
            best = max(means[control])
            lines.append(f"  the best {control}: {100 * (np.mean(means[searched]) - best):+.2f}")
    repeated = [r.top1 for r in by_group.get(control, ())]
    if len(repeated) > 1 and max(map(len, repeated)) > 1:
        s = spread(repeated)
        lines += [
            "",
            f"Random networks: standard deviation {100 * s.between:.2f} points between networks, "
            f"{100 * s.within:.2f} between seeds (F = {s.f:.2f}, p = {s.p:.3f})",
        ]
    alone = means.get(control, [])
    for name, accuracies in judged.items():
        if len(accuracies) == len(alone) > 2:
            rho, p = rank_correlation(accuracies, alone)
            lines.append(
                f"{name} against top-1, {len(alone)} random networks: Spearman {rho:+.2f} (p = {p:.2f})"
            )
    trained = [r.train_seconds for r in by_group.get(searched, ())]
    if cost.seconds and trained:
        ratio = np.mean(cost.seconds) / np.mean(trained)
        each = ratio * cost.train_epochs / cost.search_epochs
        lines.append(
            f"A search of {cost.search_epochs:g} epochs took {ratio:.2f} times a training of "
            f"{cost.train_epochs:g}: for the same number of epochs {each:.2f} times."
        )
    lost = [100 * (r.float_top1 - r.int8_top1) for r in rows if r.int8_top1 is not None]
    if lost:
        lines.append(f"int8 less float: {-max(lost):+.2f} to {-min(lost):+.2f} points")
    return "\n".join(lines)


def draw(path: str, rows: Sequence[Row], control: str) -> None:
    """Accuracy against measured latency over the median of `control`'s, one colour for each group.

    All rows are timed in one run, at the machine's pace of that day; only their ratios are the networks' own.
    """
    timed = [r for r in rows if r.measured_ms]
    require(bool(timed), "No network was timed yet, so there is nothing to draw; run --parts=times before.")
    # Not pyplot, which looks for a display and keeps every figure.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    groups = _by_group(timed)
    median_ms = np.median([r.measured_ms for r in groups.get(control, timed)])
    for group, members in groups.items():
        times = [r.measured_ms / median_ms for r in members]
        axes.scatter(times, [100 * np.mean(r.top1) for r in members], s=22, label=group)
    axes.set(xlabel=f"time of the int8 network, {control} = 1", ylabel="top-1 of the test images, float, %")
    axes.legend(fontsize="small")
    with files.replacing(path) as temporary:
        figure.savefig(temporary)


def _by_group(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for r in rows:
        found.setdefault(r.network.group, []).append(r)
    return found


def _percent(value: Interval) -> str:
    half = "" if np.isnan(value.half_width) else f" ± {100 * value.half_width:.2f}"
    return f"{100 * value.mean:.2f}{half} %"
