"""The report's curves, as inline SVG made by matplotlib."""

import io
import re
import zlib
from collections.abc import Sequence
from typing import Any

import matplotlib

# Before pyplot is imported: figures are only written, also on machines without a screen.
matplotlib.use("Agg")
from matplotlib import pyplot as plt

_PALETTE = ("#56b4e9", "#0072b2", "#004c7a", "#e69f00", "#d55e00", "#8a3c00", "#cccccc")
Rows = Sequence[dict[str, Any]]


def series(rows: Rows, key: str) -> tuple[list[float], list[float]]:
    """Epochs and values of the rows that have a number under `key`."""
    pairs = [(row["epoch"], row[key]) for row in rows if isinstance(row.get(key), (int, float))]
    return [p[0] for p in pairs], [p[1] for p in pairs]


def curves(
    rows: Rows,
    panels: Sequence[tuple[str, Sequence[tuple[str, str]]]],
    target: tuple[str, float] | None = None,
) -> str:
    """One panel per title with its (key, label) curves over the epochs.

    Args:
      target: panel title and value of a dashed line, such as a latency budget.
    """
    panels = [(title, [k for k in keys if series(rows, k[0])[0]]) for title, keys in panels]
    panels = [(title, keys) for title, keys in panels if keys]
    if not panels:
        return ""
    # Not squeezed, so that a single panel is a row of panels as well.
    figure, axes = plt.subplots(1, len(panels), figsize=(3.7 * len(panels), 2.7), squeeze=False)
    for axis, (title, keys) in zip(axes[0], panels, strict=True):
        for key, label in keys:
            axis.plot(*series(rows, key), marker=".", label=label)
        if target and target[0] == title:
            axis.axhline(target[1], color="#a33", linestyle="--", label="target")
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.25)
        # A single curve is named by the title.
        if len(axis.lines) > 1:
            axis.legend(frameon=False, fontsize=8)
    return _svg(figure)


def probabilities(rows: Rows, names: Sequence[Sequence[str]]) -> str:
    """Small multiples, one per block: how the candidates' probabilities moved over the epochs.

    Args:
      names: for each block, its candidates' names in the order of the logged probabilities.
    """
    rows = [row for row in rows if row.get("probabilities")]
    if not rows:
        return ""
    colours = _colours(names)
    columns = min(7, len(names))
    lines = -(-len(names) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(1.6 * columns, 1.35 * lines + 0.5), sharex=True, sharey=True, squeeze=False
    )
    epochs = [row["epoch"] for row in rows]
    # A single epoch has no width to fill; show it as a flat band.
    epochs = epochs if len(epochs) > 1 else [epochs[0] - 0.5, epochs[0] + 0.5]
    for index, axis in enumerate(axes.flat):
        if index >= len(names):
            axis.axis("off")
            continue
        history = [row["probabilities"][index] for row in rows] * (1 if len(rows) > 1 else 2)
        axis.stackplot(epochs, list(zip(*history, strict=True)), colors=[colours[n] for n in names[index]])
        axis.set_title(f"block {index + 1}", fontsize=8, pad=2)
        axis.set(ylim=(0, 1), xlim=(epochs[0], epochs[-1]))
        axis.tick_params(labelsize=7)
    handles = [plt.Rectangle((0, 0), 1, 1, color=c) for c in colours.values()]
    figure.legend(handles, list(colours), loc="lower center", ncol=len(colours), frameon=False, fontsize=8)
    return _svg(figure, bottom=0.35 / (1.35 * lines + 0.5))


def _colours(names: Sequence[Sequence[str]]) -> dict[str, str]:
    distinct = list(dict.fromkeys(name for block in names for name in block))
    ordered = sorted(distinct, key=lambda n: (n == "Z", n))
    # The palette's last colour, grey, is for skipping a block only, so the others take turns.
    return {n: "#cccccc" if n == "Z" else _PALETTE[i % 6] for i, n in enumerate(ordered)}


def _svg(figure: plt.Figure, bottom: float = 0.0) -> str:
    figure.tight_layout(rect=(0, bottom, 1, 1))
    buffer = io.StringIO()
    # A fixed salt and no date: the same figures give the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "report"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    # pyplot keeps every figure that is not closed.
    plt.close(figure)
    text = buffer.getvalue()
    # Ids repeat between figures of one page; make them the figure's own.
    tag = f"f{zlib.crc32(text.encode()):08x}"
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{tag}", text)
    # Without the XML declaration, which has no place inside of HTML.
    return text[text.index("<svg") :]
