"""Why this network: each block's candidates, how probable the search found them and what they cost."""

from collections.abc import Sequence
from typing import Any

from export import report_page
from export.report_facts import RunFacts
from nas_tf.base.errors import UserError
from nas_tf.base.run_folder import SEARCH
from nas_tf.space.search_space import SearchSpace, find_space

_LATENCY = "latency_ms"


def choice(facts: RunFacts) -> str:
    """One line for each block: what was taken, its probability and its share of the time."""
    settings, rows = facts.settings.get(SEARCH, {}), facts.metrics[SEARCH]
    space = _space(settings)
    probabilities = next((row["probabilities"] for row in reversed(rows) if row.get("probabilities")), None)
    if space is None or facts.architecture is None or not probabilities:
        return ""
    choices = space.choices(settings.get("resolution", 224))
    names = [[operation.name for operation in block.operations] for block in choices]
    taken = [block.operation.name for block in facts.architecture.blocks[1:]]  # the first is no choice
    if not len(names) == len(probabilities) == len(taken):
        return ""
    if any(own not in block for own, block in zip(taken, names, strict=True)):
        return ""  # the run's network is another than the search's
    lines = [
        [number, own, *_shares(block.index(own), block, shares)]
        for number, (own, block, shares) in enumerate(zip(taken, names, probabilities, strict=True), start=1)
    ]
    header = ["block", "taken", "probability", "most probable other"]
    costs = next((cost[2] for cost in settings.get("costs", []) if cost[0] == _LATENCY), None)
    if costs:
        own_ms = [row[block.index(own)] for row, block, own in zip(costs, names, taken, strict=True)]
        bars = [report_page.bar(ms, max(own_ms), f"{ms:.4g} ms") for ms in own_ms]
        lines = [[*line, bar] for line, bar in zip(lines, bars, strict=True)]
        header.append("latency, from the table")
    note = (
        "Probabilities at the end of the search. What is taken is the most probable network within the "
        "budget that uses it, so a block may hold a less probable candidate than another."
    )
    return report_page.section("Why this network", report_page.table(header, lines), note)


def _shares(own: int, names: Sequence[str], shares: Sequence[float]) -> tuple[str, str]:
    """Probability of the candidate taken, and the most probable other with its own."""
    others = [k for k in range(len(names)) if k != own]
    best = max(others, key=lambda k: shares[k], default=None)
    return f"{shares[own]:.0%}", "—" if best is None else f"{names[best]}, {shares[best]:.0%}"


def _space(settings: dict[str, Any]) -> SearchSpace | None:
    try:
        return find_space(settings["space"]).scaled(settings.get("width_multiplier", 1.0))
    except (KeyError, UserError):
        return None
