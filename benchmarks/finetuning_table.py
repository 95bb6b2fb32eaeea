"""The table of ways to make one float network int8."""

from collections.abc import Mapping, Sequence

from benchmarks.evidence_statistics import mean_interval
from nas_tf.base.run_folder import EVALUATE, FINETUNE, RunFolder


def outcome(folder: str) -> dict[str, float]:
    """float_top1, int8_top1, agreement, snr_db and seconds of one run."""
    stage = RunFolder(folder).stage
    tuned, evaluated = stage(FINETUNE).summary() or {}, stage(EVALUATE).summary() or {}
    file = evaluated.get("int8", evaluated)
    return {
        "float_top1": tuned["float_top1"],
        "int8_top1": file["top1"],
        "agreement": tuned["agreement"],
        "snr_db": tuned["snr_db"],
        "seconds": tuned["seconds"],
    }


def table(outcomes: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """A Markdown table: means over seeds with 95 % intervals."""
    lines = [
        "| how | int8 less float, points | int8 top-1 | same answers as float | logits, dB | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for way, rows in outcomes.items():
        lost = mean_interval([100 * (r["int8_top1"] - r["float_top1"]) for r in rows])
        mean = {key: sum(r[key] for r in rows) / len(rows) for key in rows[0]}
        lines.append(
            f"| {way} | {lost.mean:+.2f} ± {lost.half_width:.2f} | {mean['int8_top1']:.2%} "
            f"| {mean['agreement']:.2%} | {mean['snr_db']:.1f} | {mean['seconds']:.0f} |"
        )
    return "\n".join(lines)
