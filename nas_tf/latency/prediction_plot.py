"""Predicted against measured latency as a picture."""

import os
from collections.abc import Sequence

import numpy as np

from nas_tf.base import files
from nas_tf.latency.accuracy import predictions_ms
from nas_tf.latency.table import LatencyTable
from nas_tf.latency.whole_networks import Measured


def save_plot(path: str | os.PathLike, table: LatencyTable, networks: Sequence[Measured]) -> None:
    """Writes a scatter plot (format by the suffix) with the ±5 % band around equality."""
    # Not pyplot, which looks for a display and keeps every figure.
    from matplotlib.figure import Figure

    measured = np.array([network.median_ms for network in networks])
    predicted = predictions_ms(table, networks)
    ends = np.array([min(measured.min(), predicted.min()), max(measured.max(), predicted.max())])
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot(ends, ends, color="grey", linewidth=1, label="equal")
    axes.fill_between(ends, 0.95 * ends, 1.05 * ends, color="grey", alpha=0.2, label="±5 %")
    axes.scatter(measured, predicted, s=16, label=f"{len(networks)} networks")
    axes.set_xlabel(f"measured on {table.identity.device}, ms")
    axes.set_ylabel("predicted from the table, ms")
    axes.legend()
    with files.replacing(path) as temporary:
        figure.savefig(temporary)
