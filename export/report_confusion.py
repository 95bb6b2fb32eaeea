"""Which classes are taken for which: the report's matrix, or the commonest mistakes of many classes."""

import html
from typing import Any

from export import report_page

_SHOWN_PAIRS = 10


def draw(result: dict[str, Any]) -> str:
    """HTML of an evaluation's summary; "" where it was written before these figures existed."""
    matrix = result.get("confusion")
    if matrix and len(matrix["labels"]) > 1:
        return _matrix(matrix)
    rows = [(row["label"], row["answer"], row["images"]) for row in result.get("most_confused") or []]
    return report_page.table(("class", "taken for", "images"), rows[:_SHOWN_PAIRS])


def _matrix(matrix: dict[str, Any]) -> str:
    """Rows are classes, columns answers; the darker, the larger the share of the row."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("", *matrix["answers"]))
    body = "".join(
        f"<tr><th>{html.escape(name)}</th>{''.join(_cell(count, sum(row)) for count in row)}</tr>"
        for name, row in zip(matrix["labels"], matrix["images"], strict=True)
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(count: int, total: int) -> str:
    # Light enough for dark figures upon it.
    strength = 0.65 * count / total if total else 0.0
    shade = f' style="background:rgba(86,180,233,{strength:.2f})"' if count else ""
    return f'<td class="n"{shade}>{count or "·"}</td>'
