"""Composes the report of a run folder from what its stages wrote."""

from export import (
    model_card,
    report_choice,
    report_confusion,
    report_drawing,
    report_figures,
    report_origin,
    report_page,
    report_quantization,
)
from export.report_facts import RunFacts, gather
from export.tally import top1_interval
from nas_tf.base import files
from nas_tf.base.interpreter import KERNELS
from nas_tf.base.run_folder import DOUBTS, SEARCH, TABLE, RunFolder
from nas_tf.space.architecture import in_words, skipped
from nas_tf.space.search_space import find_space

# Stage, label, and where its accuracy is measured.
_ACCURACIES = (
    ("float", "float network"),
    ("qat", "quantization-aware (simulated)"),
    ("int8", "int8 .tflite file"),
)


def write_report(workdir: str) -> str:
    """Writes `<workdir>/report.html` and returns its path; the model card beside the file, too.

    Raises:
      UserError: the folder holds no stage that has ended.
    """
    facts = gather(workdir)
    body = "".join(
        (
            _headline(facts),
            _doubts(facts),
            _accuracy(facts),
            _confusion(facts),
            report_quantization.quantization(facts),
            report_origin.data(facts),
            report_origin.preprocessing(facts),
            _architecture(facts),
            report_choice.choice(facts),
            _latency(facts),
            _sizes(facts),
            _search(facts),
            _training(facts),
            _stages(facts),
            report_origin.repeat(facts),
            _next(facts),
        )
    )
    name = facts.architecture.name if facts.architecture else ""
    words = in_words(facts.architecture) if facts.architecture else "no architecture yet"
    path = RunFolder(facts.workdir).report
    files.write_text(path, report_page.page(f"Run {facts.workdir.name}", f"{name}  {words}".strip(), body))
    model_card.update(workdir)
    return str(path)


def _headline(facts: RunFacts) -> str:
    tiles = []
    top1 = facts.value("evaluate", "int8", "top1")
    if top1 is not None:
        tiles.append(report_page.tile(f"{top1:.2%}", "top-1 of the int8 file"))
    difference = _drop(facts)
    if difference is not None:
        tiles.append(report_page.tile(f"{100 * difference:+.2f} points", "int8 against float"))
    predicted, target = (facts.value("search", f"{key}_latency_ms") for key in ("predicted", "target"))
    if predicted is not None and target is not None:
        tiles.append(
            report_page.tile(_ms(predicted), f"predicted; budget {_ms(target)}", predicted <= target)
        )
    measured = facts.value("benchmark", "median_ms")
    if measured is not None:
        kernels = facts.value("benchmark", "kernels")
        tiles.append(report_page.tile(_ms(measured), f"measured, median{_named(kernels)}"))
    size = facts.value("convert", "bytes")
    if size is not None:
        tiles.append(report_page.tile(f"{size / 1024:,.0f} KiB", "int8 file"))
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _doubts(facts: RunFacts) -> str:
    """What stages say against their own results, and what to change."""
    rows = [
        (stage, summary[key][:1].upper() + summary[key][1:] + ".")
        for stage, summary in facts.summaries.items()
        for key in DOUBTS
        if key in summary
    ]
    return report_page.section(
        "What to doubt", report_page.table(("stage", "what, and what to change"), rows)
    )


def _drop(facts: RunFacts) -> float | None:
    ends = [facts.value("evaluate", kind, "top1") for kind in ("float", "int8")]
    return None if None in ends else ends[1] - ends[0]


def _accuracy(facts: RunFacts) -> str:
    rows = []
    for kind, label in _ACCURACIES:
        result = facts.value("evaluate", kind)
        if result:
            background = result.get("background_predictions")
            rows.append(
                (
                    label + (f", {kernels} kernels" if (kernels := result.get("kernels")) else ""),
                    f"{result['top1']:.2%}",
                    _interval(result),
                    f"{result['top5']:.2%}",
                    f"{result['num_examples']:,}",
                    "—" if background is None else str(background),
                    "measured here",
                )
            )
    header = ("network", "top-1", "95 % interval", "top-5", "images", "background predictions", "source")
    return report_page.section(
        "Accuracy",
        report_page.table(header, rows),
        "All rows: the same images through the same preprocessing. Background predictions are "
        "images given to the added class 0; there should be none.",
    )


def _interval(result: dict) -> str:
    low, high = top1_interval(result)
    return f"{low:.2%} to {high:.2%}"


def _confusion(facts: RunFacts) -> str:
    drawn = report_confusion.draw(facts.value("evaluate", "int8") or {})
    note = "Images of the int8 file by their class (rows) and the class that they were given (columns)."
    return report_page.section("Confusion", drawn, note)


def _architecture(facts: RunFacts) -> str:
    network, resolution, classes = facts.architecture, facts.resolution, facts.num_classes
    if not (network and resolution and classes):
        return ""
    drawing = report_drawing.draw(network, resolution, classes)
    note = (
        f"{network.params(classes):,} parameters, {network.macs(resolution, classes) / 1e6:.1f} "
        f"million multiply-adds at {resolution}×{resolution}, blocks skipped: {skipped(network)}. "
        "Colour: kernel (blue 3×3, green 5×5, orange 7×7). Height: expansion. "
        "Below: channels, output size, ↓2 where the resolution halves, an arc for an "
        "identity shortcut. MB6 7×7 is an inverted bottleneck with expansion 6."
    )
    return report_page.section("Architecture", drawing, note)


def _sizes(facts: RunFacts) -> str:
    rows = [
        (label, f"{size / 1024:,.1f} KiB", "measured here")
        for label, size in (
            ("float weights (float32, HDF5)", facts.weights_bytes),
            ("int8 .tflite file", facts.value("convert", "bytes")),
        )
        if size
    ]
    return report_page.section("Sizes", report_page.table(("what", "size", "source"), rows))


def _latency(facts: RunFacts) -> str:
    rows = []

    def add(label, value, source):
        if value is not None:
            rows.append((label, _ms(value), source))

    of_table, of_file = _table_kernels(facts), facts.value("benchmark", "kernels") or ""
    here = f"measured here{_named(of_file)}"
    add("budget", facts.value("search", "target_latency_ms"), "asked for")
    predicted = facts.value("search", "predicted_latency_ms")
    add("this network", predicted, f"predicted from the table{_named(of_table)}")
    add("this network's file, median", facts.value("benchmark", "median_ms"), here)
    if facts.value("benchmark", "backend") != "adb":  # older runs called a phone's medians so
        add("this network's file, 90th percentile", facts.value("benchmark", "p90_ms"), here)
    measured = facts.value("benchmark", "median_ms")
    note = f"Device: {facts.value('benchmark', 'device')}{_named(of_file)}. " if measured else ""
    if predicted and measured and of_table and of_file and of_table != of_file:
        note += f"The table is of {of_table} kernels and not of {of_file}: no prediction of this time."
    elif predicted and measured:
        note += f"The prediction is {100 * (predicted / measured - 1):+.1f} % off the measurement."
    body = report_page.table(("what", "milliseconds", "source"), rows) + _slow(facts)
    return report_page.section("Latency", body, note)


def _slow(facts: RunFacts) -> str:
    """The candidates that the table shows to be out of proportion, and whether this network has any."""
    # The search's, where it was given a table of another run; earlier versions have neither.
    stages = [facts.summaries.get(name, {}).get("slow_entries") for name in (SEARCH, TABLE)]
    groups = next((found for found in stages if found), [])
    if not groups:
        return ""
    words = "Slow in this table: " + "; ".join(group["sentence"] for group in groups) + "."
    network = facts.architecture
    if network and facts.resolution and facts.num_classes:
        slow = {key for group in groups for key in group["times"]}
        layers = network.layers(facts.resolution, facts.num_classes)
        words += f" This network has {sum(layer.key in slow for layer in layers) or 'none'} of them."
    return report_page.paragraph(words)


def _table_kernels(facts: RunFacts) -> str:
    """Kernels of the table that the search believed; "" where its run does not say."""
    kernels = facts.value("search", "kernels") or facts.value("build_latency_table", "identity", "kernels")
    return kernels if kernels in KERNELS else ""


def _named(kernels: str) -> str:
    return f", {kernels} kernels" if kernels else ""


def _search(facts: RunFacts) -> str:
    rows = facts.metrics["search"]
    target = facts.value("search", "target_latency_ms")
    title = "expected latency, ms"
    charts = report_figures.curves(
        rows,
        [
            ("loss", [("loss", "weights"), ("alpha_loss", "architecture")]),
            (title, [("expected_latency_ms", "expected")]),
            ("entropy of the choices, nats", [("entropy", "entropy")]),
        ],
        (title, target) if target else None,
    )
    settings = facts.settings.get("search", {})
    return report_page.section("Search", charts + _probabilities(rows, settings))


def _probabilities(rows, settings) -> str:
    if not rows or "space" not in settings:
        return ""
    space = find_space(settings["space"]).scaled(settings.get("width_multiplier", 1.0))
    names = [
        [operation.name for operation in choice.operations]
        for choice in space.choices(settings.get("resolution", 224))
    ]
    note = (
        "Probability of each candidate over the epochs, one panel per block; "
        "expansion_kernel, Z skips the block."
    )
    return report_figures.probabilities(rows, names) + report_page.paragraph(note)


def _training(facts: RunFacts) -> str:
    train = report_figures.curves(
        facts.metrics["train"],
        [("loss", [("loss", "train")]), ("top-1", [("train_top1", "train"), ("eval_top1", "evaluation")])],
    )
    finetune = report_figures.curves(
        facts.metrics["finetune"],
        [("fine-tuning loss", [("loss", "train")])],
    )
    return report_page.section("Training of the float network", train) + report_page.section(
        "Quantization-aware fine-tuning", finetune
    )


def _stages(facts: RunFacts) -> str:
    rows = [
        (stage, f"{summary['seconds']:,.0f} s", "measured here")
        for stage, summary in facts.summaries.items()
        if isinstance(summary.get("seconds"), (int, float))
    ]
    return report_page.section("Time of each stage", report_page.table(("stage", "time", "source"), rows))


def _next(facts: RunFacts) -> str:
    model = facts.value("convert", "output")
    if not model:
        return report_page.section(
            "Next",
            report_page.commands(
                [f"python -m nas_tf.pipeline --workdir={facts.workdir} …   # the same flags: it goes on"]
            ),
        )
    lines = [
        "# on a phone, with TFLite's benchmark_model binary:",
        f"python -m export.benchmark --model={model} --backend=adb --benchmark_binary=benchmark_model",
        "# what is inside the file:",
        f"python -m quant.audit --model={model}",
    ]
    return report_page.section("What to run next", report_page.commands(lines))


def _ms(value: float) -> str:
    return f"{value:.4g} ms"
