"""What a model card says of resizes: which one its accuracy holds for, and what others cost."""

import pathlib
from typing import Any, NamedTuple

from export.report_facts import RunFacts
from nas_tf.base.run_folder import EVALUATE, RESIZES, RunFolder
from nas_tf.data import resize_methods
from nas_tf.data.resize_methods import CONTRACT
from nas_tf.network import model_folder


class ResizeTable(NamedTuple):
    """A table and what stands below it."""

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str


def measured_with(run: RunFacts | None) -> str:
    """Which resize the accuracy of a run's file holds for."""
    evaluated = run.summaries.get(EVALUATE, {}) if run else {}
    # Before other resizes could be asked for, there was this one.
    method = evaluated.get("resize_method", CONTRACT)
    others = (
        " One without antialiasing, or one that squashes the image to a square, gives the network other "
        "images, and other answers."
    )
    if method == CONTRACT:
        return "Accuracy was measured with this resize." + others
    words = resize_methods.in_words(method, evaluated["resolution"], evaluated["resize_size"])
    return f"Accuracy was not measured with this resize, but with `{method}`: {words}.{others}"


def compared(output: pathlib.Path, run: RunFacts | None) -> ResizeTable | None:
    """What other resizes cost this file, or None where the run has not measured it of this file."""
    if not run:
        return None
    stage = RunFolder(run.workdir).stage(RESIZES)
    summary, asked = stage.summary(), stage.settings() or {}
    if not summary or asked.get("model") != model_folder.digest(output):
        return None
    doubt = f" Note: {summary['resizes_note']}." if summary["resizes_note"] else ""
    return ResizeTable(
        ("resize", "top-1, points more or less (95 % interval)", "same answers"),
        [_row(row) for row in summary["resizes"]],
        f"Beside {summary['top1']:.2%} with this file's own resize, on {summary['num_examples']:,} images of "
        f"`{summary['dataset']}`, split `{summary['split']}`.{doubt} How much is lost depends on how much "
        "larger the photographs are than the input.",
    )


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    low, high = (100 * end for end in row["difference_interval"])
    return (
        f"`{row['resize_method']}`: {row['resize']}",
        f"{100 * row['difference']:+.2f} ({low:+.2f} to {high:+.2f})",
        f"{row['agreement']:.2%}",
    )
