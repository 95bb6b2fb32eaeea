"""The conversion stage: fine-tuned network + background class → checked `.tflite` + labels."""

import dataclasses
import pathlib
from typing import Any, NamedTuple

from export import (
    background,
    convert_checks,
    converter,
    file_check,
    file_description,
    file_facts,
    labels,
    model_card,
)
from nas_tf.base import files
from nas_tf.base.clock import Clock
from nas_tf.base.errors import require
from nas_tf.base.run_folder import CONVERT, RunFolder, StageFolder, open_stage
from nas_tf.network import model_folder
from nas_tf.network.model_folder import ModelDescription
from quant import flatbuffer
from quant.audit_tflite import audit_flatbuffer


@dataclasses.dataclass(frozen=True)
class ConvertConfig:
    """Settings of a conversion.

    Attributes:
      model: model folder; "" means `<workdir>/finetune/model`.
      output: the file to write; "" means `<workdir>/convert/model_int8.tflite`.
      num_classes: outputs of the file, the model's N or N + 1 with background; 0 means N + 1.
      input_type, output_type: uint8, int8 or float32.
      seed: chooses the class that lends background its weights.
      background_margin_steps: int8 output steps by which background stays under that class.
      author, version, license: of the model, as the file says; a `license` of "" is left out.
    """

    model: str = ""
    output: str = ""
    num_classes: int = 0
    # Both as in Google's published quantized MobileNets: pixels in, 8-bit scores out.
    input_type: str = "uint8"
    output_type: str = "uint8"
    seed: int = 0
    background_margin_steps: float = background.DEFAULT_MARGIN_STEPS
    author: str = "nas_tf"
    version: str = "1"
    license: str = ""


# Of the stage's settings, those that runs of earlier versions do not hold: their defaults.
NEWER = {name: getattr(ConvertConfig, name) for name in ("author", "version", "license")}


def run_convert(workdir: str, config: ConvertConfig) -> dict[str, Any]:
    """Converts, checks and writes; returns the stage's summary.

    Args:
      workdir: the run folder; "" to write `config.output` alone, without a summary file.
      config: settings.

    Raises:
      UserError: no such model, a class count that does not fit, a converted model that fails a
        check, or an output file that this stage did not write.
    """
    require(bool(workdir or config.output), "A conversion needs a workdir or an output file.")
    folder = config.model or str(RunFolder(workdir).qat_model)
    description = model_folder.read_description(folder)
    num_classes = _num_classes(description, config)
    _require_types(description, config, folder)
    # As asked for in full: 0 and N + 1 are the same conversion.
    config = dataclasses.replace(config, num_classes=num_classes)
    stage = _open_stage(workdir, config, folder) if workdir else None
    output = _output(config, description, stage)
    if stage and stage.summary() is not None and _is_ours(stage, output):
        return _held(stage, output, workdir)
    require(
        not output.exists() or _is_ours(stage, output),
        f"--output={str(output)!r} exists and was not written by this run; name another file or remove it.",
    )
    names = description.labels
    if num_classes > len(names):
        names = (background.LABEL, *names)
    # A file that was named may lie beside others; the stage's folder is its own.
    beside = _Beside(
        labels.path_beside(output, alone=not config.output),
        model_card.path_beside(output, alone=not config.output),
    )
    # Before the conversion, which takes some 16 seconds for a whole network.
    labels.check_writable(beside.labels, names)
    model_card.check_writable(beside.card)
    clock = Clock()
    content, facts = convert_model(folder, config)
    origin = file_description.Origin(config.author, config.version, config.license)
    content = file_description.embed(content, description, names, config.input_type, origin)
    _write(stage, output, content, names, file_facts.facts_of(description))
    labels.write(beside.labels, names)
    summary = {
        "output": str(output),
        "bytes": output.stat().st_size,
        "model": folder,
        "num_classes": num_classes,
        **facts,
        "labels": str(beside.labels),
        "model_card": str(beside.card),
        "seconds": clock.seconds(),
    }
    if stage:
        stage.write_summary(summary)
    model_card.write(beside.card, summary, workdir)
    return summary


class _Beside(NamedTuple):
    """Files that belong to the converted one."""

    labels: pathlib.Path
    card: pathlib.Path


def _held(stage: StageFolder, output: pathlib.Path, workdir: str) -> dict[str, Any]:
    """The summary of a conversion that has ended."""
    # By the path of this call, which may name the folder in another way.
    held = stage.summary() or {}
    names = {key: held[key] for key in ("labels", "model_card") if key in held}
    beside = {key: str(output.parent / pathlib.Path(path).name) for key, path in names.items()}
    held = held | {"output": str(output), **beside}
    # The process may have been killed between summary and card.
    if "model_card" in held and not pathlib.Path(held["model_card"]).exists():
        model_card.write(pathlib.Path(held["model_card"]), held, workdir)
    return held


def _output(config: ConvertConfig, description: ModelDescription, stage: StageFolder | None) -> pathlib.Path:
    if config.output or stage is None:
        return pathlib.Path(config.output)
    return stage.int8_file if description.kind == "qat" else stage.float_file


def facts_for_people(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary in a few printable lines."""
    facts = {"file": summary["output"], "size (bytes)": summary["bytes"], "classes": summary["num_classes"]}
    for end in ("input", "output_tensor"):
        tensor = summary[end]
        grid = (
            f", scale {tensor['scale']:.6g}, zero point {tensor['zero_point']}" if "scale" in tensor else ""
        )
        facts[end.removesuffix("_tensor")] = f"{tensor['dtype']} {tensor['shape']}{grid}"
    if summary["background_source"] is not None:
        facts["background is like class"] = summary["background_source"]
    if "model_card" in summary:  # not in a summary of an older version
        facts["model card"] = summary["model_card"]
    if summary["background_margin_steps"] is not None:
        facts["background's margin (int8 steps)"] = summary["background_margin_steps"]
    if "checked_images" in summary:  # not in a summary of an older version
        facts[f"against its network, {summary['checked_images']} synthetic images"] = (
            f"{summary['checked_agreement']:.0%} of the answers agree, "
            + (
                "all logits are equal"
                if summary["checked_snr_db"] is None
                else f"logits within {summary['checked_snr_db']:.1f} dB"
            )
        )
    return facts


def convert_model(folder: str, config: ConvertConfig) -> tuple[bytes, dict[str, Any]]:
    """The checked flatbuffer of a model folder, and facts about it; writes nothing."""
    model, description = load_model(folder)
    num_classes = _num_classes(description, config)
    network, chosen = _network(model, description, config, num_classes)
    quantized = description.kind == "qat"
    content = _converted(network, config, quantized)
    # A float file has no steps; there any gap above the rounding of float32 will do.
    steps = _margin(content, chosen.source) if quantized and chosen else None
    flat = flatbuffer.parse(content, "converted model")
    graph = flat.main
    convert_checks.require_types(graph, config.input_type, config.output_type, num_classes)
    fill = None
    if quantized:
        audit = audit_flatbuffer(flat, "converted model")
        convert_checks.require_integers(audit)
        fill = convert_checks.require_per_channel(audit)
    # On answers, for the checks above see only what they look for.
    checked = file_check.compare_with_network(content, network, quantized)
    return content, {
        "input": _tensor_facts(graph.tensors[graph.inputs[0]]),
        "output_tensor": _tensor_facts(graph.tensors[graph.outputs[0]]),
        "operators": len(graph.operators),
        "kernel_min_fill": fill,
        "background_source": chosen and chosen.source,
        "background_bias": chosen and chosen.bias,
        "background_margin_steps": steps,
        **checked,
    }


def _network(model, description: ModelDescription, config: ConvertConfig, num_classes: int):
    """(the network to convert, with background if asked for; the `Background` added or None)."""
    chosen = None
    if num_classes > description.num_classes:
        # Here and not before fine-tuning, which could undo the margin.
        biases = background.classifier_biases(model)
        chosen = background.choose(biases, config.seed)
        if description.kind == "qat":
            from quant.quantizer_list import activation_ranges

            chosen = background.lowered(
                chosen,
                float(biases[chosen.source]),
                activation_ranges(model)[-1].scale,
                config.background_margin_steps,
            )
        model = background.with_background(model, chosen)
    if description.kind == "qat":
        from quant.bias import put_on_grid, require_biases_fit

        require_biases_fit(model)
        put_on_grid(model)  # fine-tuning has done so; other ways of making such a model may not
    return model, chosen


def _margin(content: bytes, source: int) -> float:
    """The background's margin in int8 steps under its source class, measured on the file."""
    steps = background.margin_steps(background.find_classifier(flatbuffer.parse(content).main), source)
    background.require_margin(steps)
    return steps


def _converted(network, config: ConvertConfig, quantized: bool) -> bytes:
    return converter.convert_keras(network, config.input_type, config.output_type, quantized)


def load_model(folder: str):
    """(model, description) of a float or fine-tuned model folder."""
    if model_folder.read_description(folder).kind == "float":
        return model_folder.load_float_model(folder)
    # Fake-quantized models need tfmot, float ones do not.
    from quant.model import load_qat_model

    return load_qat_model(folder)


def _num_classes(description: ModelDescription, config: ConvertConfig) -> int:
    held = description.num_classes
    # The first is what 0 stands for: with background, if the model has none yet.
    allowed = (held,) if description.has_background else (held + 1, held)
    asked = config.num_classes or allowed[0]
    require(
        asked in allowed,
        f"--num_classes={asked} does not fit the model, which has {held} classes; allowed: "
        + " or ".join(f"{n} ({'with' if n > held else 'without'} a new background class)" for n in allowed)
        + ".",
    )
    return asked


def check_settings(config: ConvertConfig) -> None:
    """Raises `UserError` for settings that no conversion could work with."""
    for flag, value in (("input", config.input_type), ("output", config.output_type)):
        require(
            value in converter.TYPES,
            f"--inference_{flag}_type={value!r} is not one of {', '.join(converter.TYPES)}.",
        )
    require(
        config.background_margin_steps >= background.MIN_MARGIN_STEPS,
        f"--background_margin_steps={config.background_margin_steps:g} must be at least "
        f"{background.MIN_MARGIN_STEPS:g}.",
    )


def _require_types(description: ModelDescription, config: ConvertConfig, folder: str) -> None:
    check_settings(config)
    for flag, value in (("input", config.input_type), ("output", config.output_type)):
        if description.kind == "float":
            require(
                value == "float32",
                f"{folder!r} holds a float model, which converts with "
                f"--inference_{flag}_type=float32 only, not {value}; "
                "run python -m quant.finetune first for an int8 file.",
            )


def _tensor_facts(tensor: flatbuffer.Tensor) -> dict[str, Any]:
    facts: dict[str, Any] = {"dtype": tensor.dtype, "shape": list(tensor.shape)}
    if len(tensor.scales):
        facts |= {"scale": float(tensor.scales[0]), "zero_point": int(tensor.zero_points[0])}
    return facts


def _open_stage(workdir: str, config: ConvertConfig, folder: str) -> StageFolder:
    # The model by what it is and not by its path, which may change between runs.
    settings = dataclasses.asdict(config) | {"model": model_folder.digest(folder)}
    return open_stage(workdir, CONVERT, settings, NEWER)


def _write(
    stage: StageFolder | None, output: pathlib.Path, content: bytes, names: tuple, facts: file_facts.FileFacts
) -> None:
    with files.replacing(output) as temporary:
        temporary.write_bytes(content)
        # Into the temporary file, so that none appears without its labels.
        labels.append(temporary, names)
        file_facts.append(temporary, facts)
        if stage:
            # First the receipt: were the process killed here, the file is still known as ours.
            files.write_json(stage.path / file_facts.RECEIPT, {"sha256": files.sha256(temporary)})


def _is_ours(stage: StageFolder | None, output: pathlib.Path) -> bool:
    receipt = stage and stage.path / file_facts.RECEIPT
    if not (receipt and output.is_file() and receipt.exists()):
        return False
    # By content: a file that someone else has put there since is not ours.
    held = files.read_json(receipt, "receipt of the conversion")
    return isinstance(held, dict) and held.get("sha256") == files.sha256(output)
