"""The model card: one Markdown page beside a `.tflite` that says what it is and what it was measured on."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from export import labels, resize_facts, tflite_metadata
from export.input_facts import input_rows, tensor_in_words
from export.report_facts import RunFacts, gather
from export.tally import top1_interval
from nas_tf.base import files, run_history
from nas_tf.base.errors import require
from nas_tf.base.run_folder import BENCHMARK, CONVERT, EVALUATE, FINETUNE, SEARCH, TRAIN, RunFolder
from nas_tf.network import model_folder
from nas_tf.space.architecture import in_words
from quant import flatbuffer

FILE_NAME = "model_card.md"
# By which a card is known that may be written anew.
MARK = "<!-- model card written by nas_tf; it is written anew with the file and with the report -->"
_SHOWN_LABELS = 20


def path_beside(output: pathlib.Path, alone: bool) -> pathlib.Path:
    """Where the card of `output` lies; `alone`: see `labels.path_beside`."""
    return output.parent / (FILE_NAME if alone else f"{output.stem}_{FILE_NAME}")


def check_writable(path: pathlib.Path) -> None:
    """Refuses to write over a file that is no card of ours."""
    require(
        _may_write(path),
        f"The file {str(path)!r} exists and is no model card of ours; name another --output or remove it.",
    )


def _may_write(path: pathlib.Path) -> bool:
    held = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else MARK
    return held.startswith(MARK)


def write(path: pathlib.Path, summary: dict[str, Any], workdir: str = "") -> None:
    """Writes the card of a converted file.

    Args:
      path: the card.
      summary: of the conversion; its `output` must be there.
      workdir: the run folder, for what its stages measured so far; "" for none.
    """
    files.write_text(path, compose(summary, _run(workdir) if workdir else None))


def _run(workdir: str) -> RunFacts:
    """What the run's stages measured; how it was made only where the file is of this run's network."""
    run, folder = gather(workdir), RunFolder(workdir)
    converted = run.settings.get(CONVERT, {}).get("model")
    own = [path for path in (folder.qat_model, folder.float_model) if path.exists()]
    if any(model_folder.digest(path) == converted for path in own):
        return run
    measured = {stage: run.summaries[stage] for stage in (EVALUATE, BENCHMARK) if stage in run.summaries}
    return dataclasses.replace(run, summaries=measured, settings={}, architecture=None)


def update(workdir: str) -> pathlib.Path | None:
    """Writes the card of a run's file anew; its path, or None where there is no file, or a card of others."""
    held = RunFolder(workdir).stage(CONVERT).summary()
    if not held or "output" not in held:
        return None
    stage = RunFolder(workdir).stage(CONVERT).path
    # By its name, where the run folder has moved since.
    inside = stage / pathlib.Path(held["output"]).name
    output = inside if inside.is_file() else pathlib.Path(held["output"])
    if not output.is_file():
        return None
    # As the conversion named it, which versions before did not.
    named = held.get("model_card") or path_beside(output, alone=output.parent == stage)
    path = output.parent / pathlib.Path(named).name
    if not _may_write(path):
        return None
    write(path, held | {"output": str(output)}, workdir)
    return path


def compose(summary: dict[str, Any], run: RunFacts | None) -> str:
    """The page, from a conversion's summary and, if there is one, the run around it."""
    output = pathlib.Path(summary["output"])
    said = tflite_metadata.read(output)
    title = f"# {said.name or output.stem}" + (f", version {said.version}" if said.version else "")
    parts = (
        f"{MARK}\n\n{title}",
        said.description,
        _section("File", _file(output, summary, said)),
        _section("Input", _input(output, run)),
        _section("Output", _output(output, summary)),
        _section("Accuracy", _accuracy(run)),
        _section("Other resizes", _resizes(output, run)),
        _section("Latency", _latency(run)),
        _section("Data", _data(run)),
        _section("How it was made", _made(summary, run)),
        _section("Limits", _limits(summary, run)),
    )
    return "\n\n".join(filter(None, parts)) + "\n"


def _file(output: pathlib.Path, summary: dict[str, Any], said: tflite_metadata.Metadata) -> str:
    rows = [
        ("name", output.name),
        ("size", f"{summary['bytes']:,} bytes"),
        ("SHA-256", f"`{files.sha256(output)}`"),
        ("author", said.author),
        ("licence", said.license or "not stated"),
    ]
    return _table(("", ""), [(name, value) for name, value in rows if value])


def _input(output: pathlib.Path, run: RunFacts | None) -> str:
    return f"{_table(('', ''), input_rows(output))}\n\n{resize_facts.measured_with(run)}"


def _resizes(output: pathlib.Path, run: RunFacts | None) -> str:
    found = resize_facts.compared(output, run)
    if not found:
        return "Not measured; `python -m export.evaluate --compare_resizes=all` says what they cost."
    return f"{_table(found.header, found.rows)}\n\n{found.note}"


def _output(output: pathlib.Path, summary: dict[str, Any]) -> str:
    graph = flatbuffer.read_file(output).main
    names = labels.read_appended(output) or ()
    words = labels.words_of(names) or names
    shown = ", ".join(words[:_SHOWN_LABELS])
    if len(words) > _SHOWN_LABELS:
        shown += f", … ({len(words)} in all, see {labels.FILE_NAME} inside the file)"
    rows = [
        ("tensor", tensor_in_words(graph.tensors[graph.outputs[0]])),
        ("values", "logits; their softmax, after dequantization, are probabilities"),
        ("classes", _escaped(shown)),
    ]
    if summary.get("background_source") is not None:
        rows.append(
            ("background", "output 0; it belongs to no image and is there for label sets that begin with one")
        )
    return _table(("", ""), rows)


def _accuracy(run: RunFacts | None) -> str:
    evaluated = run.summaries.get(EVALUATE) if run else None
    if not evaluated:
        return "Not measured yet: `python -m export.evaluate`."
    kinds = {"int8": "this file", "qat": "its simulation", "float": "the float network that it was made of"}
    found = {label: evaluated[kind] for kind, label in kinds.items() if kind in evaluated}
    rows = [
        (label, *_shares(row), f"{row['num_examples']:,}", row.get("kernels") or "—")
        for label, row in (found or {"this file": evaluated}).items()
    ]
    table = _table(("network", "top-1 (95 % interval)", "top-5", "images", "kernels"), rows)
    note = f"Measured on `{_dataset(evaluated['dataset'])}`, split `{evaluated['split']}`."
    if evaluated["background_class"]:
        note += f" Images taken for background: {evaluated['background_predictions']}."
    return f"{table}\n\n{note}{_weakest(evaluated)}"


def _shares(row: dict[str, Any]) -> tuple[str, str]:
    low, high = top1_interval(row)
    return f"{row['top1']:.2%} ({low:.2%} to {high:.2%})", f"{row['top5']:.2%}"


def _weakest(evaluated: dict[str, Any]) -> str:
    rows = sorted(evaluated.get("per_class") or [], key=lambda row: row["top1"])[:3]
    if len(rows) < 3:
        return ""
    words = ", ".join(f"{_escaped(row['label'])} {row['top1']:.0%} of {row['examples']}" for row in rows)
    return f" Weakest classes: {words}."


def _latency(run: RunFacts | None) -> str:
    timed = run.summaries.get(BENCHMARK) if run else None
    if not run or not timed:
        return "Not measured yet: `python -m export.benchmark`."
    rows = [
        ("median", f"{timed['median_ms']:.4g} ms for one image"),
        ("device", f"{timed['device']}, {timed['num_threads']} thread(s)"),
        ("runtime", f"{timed['runtime']}, {timed['kernels']} kernels"),
    ]
    target, predicted = (run.value(SEARCH, f"{key}_latency_ms") for key in ("target", "predicted"))
    if target and predicted:
        rows.append(("budget", f"{target:.4g} ms; predicted from the latency table: {predicted:.4g} ms"))
    return _table(("", ""), rows)


def _data(run: RunFacts | None) -> str:
    settings = run.settings.get(TRAIN, {}).get("data") if run else None
    if not run or not settings:
        return "Not known to this file: it was converted outside of a run folder, or from imported weights."
    images = run.value(TRAIN, "train_images")
    counted = f", {images:,} images" if images else ""
    rows = [("trained on", f"`{_dataset(settings['dataset'])}`, split `{settings['train_split']}`{counted}")]
    if run.num_classes:
        rows.append(("classes", f"{run.num_classes}"))
    return _table(("", ""), rows)


def _dataset(name: str) -> str:
    """A dataset's name, or its folder's: a card is shared, where it lies on this machine is not."""
    return pathlib.PurePath(name).name or name


def _made(summary: dict[str, Any], run: RunFacts | None) -> str:
    lines = []
    if run and run.architecture:
        searched = run.settings.get(SEARCH, {}).get("space")
        origin = f"searched in the space `{searched}`" if searched else "given, not searched"
        lines.append(f"Network: {in_words(run.architecture)}; {origin}.")
    epochs = run.value(TRAIN, "epochs") if run else None
    if epochs:
        lines.append(f"Trained in float for {epochs} epochs.")
    tuned = run.settings.get(FINETUNE, {}) if run else {}
    if tuned:
        lines.append(
            f"Quantized to int8 with {tuned.get('calibration_images')} images to set the ranges and "
            f"{tuned.get('steps')} steps of fine-tuning, weights and activations."
        )
    if "checked_images" in summary:
        equal = summary["checked_snr_db"] is None
        lines.append(
            f"Compared with its network on {summary['checked_images']} synthetic images: "
            + ("all logits are equal." if equal else f"logits within {summary['checked_snr_db']:.1f} dB.")
        )
    lines.append("Made with " + ", ".join(f"{n} {v}" for n, v in _versions(run).items()) + ".")
    return "\n".join(f"- {line}" for line in lines)


def _versions(run: RunFacts | None) -> dict[str, str]:
    """Of the conversion, whoever writes the card anew later; of this process where that is not known."""
    noted = [line for line in run_history.read(run.workdir) if line["stage"] == CONVERT] if run else []
    return noted[-1]["versions"] if noted else run_history.versions()


def _limits(summary: dict[str, Any], run: RunFacts | None) -> str:
    lines = [
        f"It knows its {summary['num_classes']} outputs and nothing else: to any other image it also gives "
        "one of them.",
        "Accuracy holds for images like those that it was measured on; no other data was looked at, nor how "
        "errors fall on groups of people or things.",
        "The interval is that of drawing so few images, and knows nothing of other cameras, light or places.",
        "Kernels round differently: with others, some answers and the latency change.",
    ]
    if not (run and BENCHMARK in run.summaries and run.value(BENCHMARK, "backend") == "adb"):
        lines.append("Its latency was not measured on a phone.")
    return "\n".join(f"- {line}" for line in lines)


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _escaped(text: str) -> str:
    """A name that may hold anything, as plain words of a table's cell."""
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, f"\\{mark}")
    return text
