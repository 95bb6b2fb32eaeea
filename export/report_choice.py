"""Why this network: each block's candidates, how probable the search found them and what they cost."""

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
    costs = next((cost[2] for cost in settings.get("costs", []) if cost[0] == _LATENCY), None)
    operations = facts.architecture.blocks[1:]  # the first is no choice
    if not len(choices) == len(probabilities) == len(operations):
        return ""  # the run's network is another than the search's
    lines = []
    largest = max((max(block) for block in costs), default=0.0) if costs else 0.0
    for index, (block, shares) in enumerate(zip(choices, probabilities, strict=True)):
        names = [operation.name for operation in block.operations]
        taken = operations[index].operation.name
        if taken not in names:
            return ""
        own = names.index(taken)
        others = sorted((k for k in range(len(names)) if k != own), key=lambda k: -shares[k])
        cells: list[Any] = [index + 1, taken, f"{shares[own]:.0%}", _runner_up(names, shares, others)]
        if costs:
            cells.append(report_page.bar(costs[index][own], largest, f"{costs[index][own]:.4g} ms"))
        lines.append(cells)
    header = ["block", "taken", "probability", "most probable other"] + (
        ["latency, from the table"] if costs else []
    )
    note = (
        "Probabilities at the end of the search. What is taken is the most probable network within the "
        "budget, so a block may hold a less probable candidate where the budget leaves no more."
    )
    return report_page.section("Why this network", report_page.table(header, lines), note)


def _runner_up(names: list[str], shares: list[float], others: list[int]) -> str:
    return f"{names[others[0]]}, {shares[others[0]]:.0%}" if others else "—"


def _space(settings: dict[str, Any]) -> SearchSpace | None:
    try:
        return find_space(settings["space"]).scaled(settings.get("width_multiplier", 1.0))
    except (KeyError, UserError):
        return None
