"""The report's sections on where a run comes from: its data, its preprocessing, and how to repeat it."""

import json
from collections.abc import Sequence
from typing import Any

from export import report_page, resize_facts, tflite_metadata
from export.input_facts import input_rows
from export.report_facts import RunFacts
from nas_tf.base import run_history
from nas_tf.base.errors import UserError
from nas_tf.base.run_folder import EVALUATE, SEARCH, TRAIN

_SHOWN_CLASSES = 40


def data(facts: RunFacts) -> str:
    """Dataset, splits and how many images there are of each class."""
    settings = next(
        (found for stage in (TRAIN, SEARCH) if (found := facts.settings.get(stage, {}).get("data"))), None
    )
    if not settings:
        return ""
    rows = [
        ("dataset", settings.get("dataset"), "asked for"),
        ("classes", facts.num_classes or None, "of the network"),
        (f"training images, {settings.get('train_split')}", facts.value(TRAIN, "train_images"), "counted"),
        (
            f"evaluation images, {facts.value(EVALUATE, 'split')}",
            facts.value(EVALUATE, "int8", "num_examples"),
            "counted",
        ),
    ]
    shown = [(what, f"{v:,}" if isinstance(v, int) else v, source) for what, v, source in rows if v]
    table = report_page.table(("what", "value", "source"), shown)
    return report_page.section("Data", table + classes(facts.value(EVALUATE, "int8", "per_class") or []))


def classes(per_class: Sequence[dict[str, Any]]) -> str:
    """Top-1 of each class, the weakest first; the first ones where there are many."""
    if not per_class:
        return ""
    weakest = sorted(per_class, key=lambda row: row["top1"])[:_SHOWN_CLASSES]
    rows = [(row["label"], f"{row['examples']:,}", f"{row['top1']:.1%}") for row in weakest]
    title = f"Classes, the weakest first ({len(weakest)} of {len(per_class)})"
    return report_page.details(title, report_page.table(("class", "evaluation images", "top-1, int8"), rows))


def preprocessing(facts: RunFacts) -> str:
    """What is done to an image before the file sees it, as the file itself says."""
    path = facts.converted_file
    if path is None:
        return ""
    try:
        rows, metadata = input_rows(path), tflite_metadata.read(path)
    except UserError:  # a report is of what can be read
        return ""
    if metadata.name:
        rows.append(("metadata", f"{metadata.name} {metadata.version}".strip()))
    table = report_page.table(("what", "how"), rows)
    return report_page.section("Preprocessing", table, resize_facts.measured_with(facts))


def repeat(facts: RunFacts) -> str:
    """Dates, versions, commands, seeds and settings."""
    lines = run_history.read(facts.workdir)
    parts = [_commands(lines), _versions(lines), _seeds(facts), *_settings(facts)]
    return report_page.section("How to repeat it", "".join(parts))


def _commands(lines: Sequence[dict[str, Any]]) -> str:
    # One command opens many stages, and is given again where it was stopped.
    once: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        once.setdefault(line["command"], []).append(line)
    rows = []
    for command, own in once.items():
        stages = ", ".join(dict.fromkeys(line["stage"] for line in own))
        rows += [f"# {own[0]['date']}: {stages}", command]
    return report_page.commands(rows) if rows else ""


def _versions(lines: Sequence[dict[str, Any]]) -> str:
    found = list(dict.fromkeys(", ".join(f"{n} {v}" for n, v in line["versions"].items()) for line in lines))
    if not found:
        return ""
    words = "Versions: " if len(found) == 1 else "Versions, which changed in between: "
    return report_page.paragraph(words + "; then ".join(found) + ".")


def _seeds(facts: RunFacts) -> str:
    seeds = {stage: s["seed"] for stage, s in facts.settings.items() if isinstance(s.get("seed"), int)}
    if not seeds:
        return ""
    return report_page.paragraph(
        "Seeds: " + ", ".join(f"{stage} {seed}" for stage, seed in seeds.items()) + "."
    )


def _settings(facts: RunFacts) -> list[str]:
    return [
        report_page.details(f"Settings of {stage}", report_page.commands([_as_json(settings)]))
        for stage, settings in facts.settings.items()
    ]


def _as_json(settings: dict[str, Any]) -> str:
    """Without the table of costs, which is drawn above and would be all there is to see."""
    return json.dumps({key: value for key, value in settings.items() if key != "costs"}, indent=1)
