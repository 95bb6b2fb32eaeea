"""Command: what an architecture is made of and what it costs.

python -m nas_tf.describe --architecture=proxyless_mobile --resolution=224
"""

from typing import Any

from absl import flags

from flags import paths, space
from flags.architecture import ARCHITECTURE
from nas_tf.base import cli, files
from nas_tf.latency.slow_entries import of_network, slow_entries, slow_for_people
from nas_tf.latency.table import LatencyTable, load_table
from nas_tf.space.architecture import Architecture, in_words
from nas_tf.space.published import read_architecture

_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes", 1000, "Outputs of the classifier.", lower_bound=1, upper_bound=1_000_000
)
_LATENCY_TABLE = paths.DEFINE_path(
    "latency_table", None, "Latency table (.json or the published .yaml) for a prediction in ms."
)
_MISSING = flags.DEFINE_enum(
    "missing_latency",
    LatencyTable.missing,
    ["error", "estimate"],
    "An entry that the table lacks: an error, or an estimate fitted to the entries that it has.",
)
_OUTPUT = paths.DEFINE_path("output_json", None, "Also write the facts to this file.")


def describe(
    architecture: Architecture, resolution: int, num_classes: int, table: LatencyTable | None = None
) -> dict[str, Any]:
    """Costs of an architecture, whole and layer by layer.

    Returns:
      `params`, `macs` (multiply-adds of one image), `predicted_latency_ms` and the table's `kernels`
      (None without a table), `slow_entries` (the table's that this network has) and `blocks`, one
      dict per layer, from the stem to the classifier; its `times_its_work` is None but for slow ones.
    """
    # First, because it names every missing entry and not only the first one.
    predicted = table.predict_ms(architecture, resolution, num_classes) if table else None
    layers = architecture.layers(resolution, num_classes)
    slow = of_network(slow_entries(table), [layer.key for layer in layers]) if table else []
    times = {key: value for group in slow for key, value in group.times.items()}
    blocks = [
        {
            "layer": type(layer).__name__.removesuffix("Spec").lower(),
            "operation": layer.operation.name if hasattr(layer, "operation") else "",
            "input": [layer.input_size, layer.input_size, layer.input_width],
            "output": [layer.output_size, layer.output_size, layer.output_width],
            "stride": layer.stride,
            "shortcut": bool(getattr(layer, "has_shortcut", False)),
            "params": layer.params,
            "macs": layer.macs,
            "latency_ms": table.cost_ms(layer) if table else None,
            "latency_estimated": bool(table and layer.key and table.entry(layer).estimated),
            "times_its_work": times.get(layer.key),
        }
        for layer in layers
    ]
    return {
        "name": architecture.name,
        "architecture": architecture.to_string(),
        "resolution": resolution,
        "num_classes": num_classes,
        "params": architecture.params(num_classes),
        "macs": architecture.macs(resolution, num_classes),
        "predicted_latency_ms": predicted,
        "kernels": table.identity.kernels if table else None,
        "slow_entries": [group.to_json() for group in slow],
        "blocks": blocks,
    }


def _print_layers(blocks: list[dict[str, Any]]) -> None:
    header = (
        f"{'layer':<11}{'op':<6}{'input':>13}{'output':>13}{'skip':>6}{'params':>11}{'Mmacs':>9}{'ms':>9}"
    )
    print(header)
    for b in blocks:
        shapes = ["×".join(map(str, b[end])) for end in ("input", "output")]
        latency = "" if b["latency_ms"] is None else f"{b['latency_ms']:.3f}"
        mark = "  estimated" if b["latency_estimated"] else ""
        if b["times_its_work"]:
            mark += f"  {b['times_its_work']:.0f} × its work"
        print(
            f"{b['layer']:<11}{b['operation']:<6}{shapes[0]:>13}{shapes[1]:>13}"
            f"{'+' if b['shortcut'] else '':>6}{b['params']:>11,}{b['macs'] / 1e6:>9.2f}{latency:>9}{mark}"
        )


def _slow_for_people(facts: dict[str, Any]) -> dict[str, str]:
    """What the network's slow layers cost, and a line for each kind of them."""
    slow = [block for block in facts["blocks"] if block["times_its_work"]]
    if not slow:
        return {}
    total = sum(block["latency_ms"] for block in slow)
    shown = f"{len(slow)} layers, {total:.4g} ms of the {facts['predicted_latency_ms']:.4g}"
    return {"out of proportion": shown} | slow_for_people(facts)


def main() -> None:
    """Prints the architecture's layers and costs."""
    architecture = read_architecture(ARCHITECTURE.value).scaled(space.WIDTH_MULTIPLIER.value)
    table = None
    if _LATENCY_TABLE.value:
        table = load_table(_LATENCY_TABLE.value, _MISSING.value)
    facts = describe(architecture, space.RESOLUTION.value, _NUM_CLASSES.value, table)
    _print_layers(facts["blocks"])
    shown = {
        "operations": in_words(architecture),
        "params": f"{facts['params']:,}",
        "macs": f"{facts['macs'] / 1e6:.1f} M",
    }
    if table:
        shown["predicted_latency_ms"] = facts["predicted_latency_ms"]
        shown["latency table"] = f"{table.identity.device}, {table.identity.kernels} kernels"
        shown["estimated entries"] = sum(b["latency_estimated"] for b in facts["blocks"])
        shown |= _slow_for_people(facts)
    cli.print_facts(architecture.name or "architecture", shown)
    if _OUTPUT.value:
        files.write_json(_OUTPUT.value, facts)


if __name__ == "__main__":
    flags.mark_flag_as_required("architecture")
    cli.run(main, resumes=False)
