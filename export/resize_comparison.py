"""What other resizers cost a model: the same images, each brought to the input's size in several ways."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from export import evaluate_run, model_card
from export.evaluate_config import NEWER, EvaluateConfig
from export.model_accuracy import Prepared, measure_images, prepare
from export.tally import paired_difference
from nas_tf.base.clock import Clock
from nas_tf.base.errors import require
from nas_tf.base.run_folder import RESIZES, RunFolder, open_stage
from nas_tf.data import resize_methods
from nas_tf.data.resize_methods import CONTRACT, OTHERS


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The methods of `--compare_resizes`, `all` for each but the contract's; `UserError` for others."""
    if tuple(names) == ("all",):
        return OTHERS
    for name in names:
        resize_methods.find(name, "compare_resizes")
    require(
        len(set(names)) == len(names) and CONTRACT not in names,
        f"--compare_resizes={','.join(names)} names each resize once, and not {CONTRACT}, with which "
        "all of them are compared.",
    )
    return tuple(names)


def run_resizes(workdir: str, config: EvaluateConfig, names: Sequence[str]) -> dict[str, Any]:
    """`compare_resizes` of a run's converted file, kept in the run folder; its model card says it.

    Raises:
      UserError: as `compare_resizes`, or the folder holds a comparison with other settings.
    """
    model = config.model or str(RunFolder(workdir).int8_file)
    require(pathlib.Path(model).exists(), f"There is no model {model!r} to evaluate.")
    prepared = _prepared(model, config, names)
    settings = evaluate_run.stage_settings(model, config) | {"compare_resizes": list(names)}
    stage = open_stage(workdir, RESIZES, settings, NEWER)
    summary = stage.summary()
    if summary is None:
        clock = Clock()
        summary = _compare(model, config, prepared, names)
        summary["seconds"] = clock.seconds()
        stage.write_summary(summary)
    model_card.update(workdir)
    return summary


def compare_resizes(model: str, config: EvaluateConfig, names: Sequence[str]) -> dict[str, Any]:
    """A model under the contract's resize and under others.

    Args:
      names: methods of `resize_methods.METHODS`, compared with the contract's.

    Returns:
      The summary by the contract's resize, with `resizes`: a row for each other one, with `resize_method`,
      `resize` (in words), `top1`, `top1_interval`, `agreement` (share of images that keep their answer), and
      what `paired_difference` says of it less the contract's. `resizes_note` is a doubt in words, or "".

    Raises:
      UserError: as `export.model_accuracy.evaluate_model`, before any image is judged.
    """
    return _compare(model, config, _prepared(model, config, names), names)


def _prepared(model: str, config: EvaluateConfig, names: Sequence[str]) -> Prepared:
    require(
        config.resize_method == CONTRACT,
        f"--resize_method={config.resize_method} does not go with --compare_resizes, which compares with "
        f"{CONTRACT}.",
    )
    chosen(names)
    return prepare(model, config)


def _compare(model: str, config: EvaluateConfig, prepared: Prepared, names: Sequence[str]) -> dict[str, Any]:
    size = prepared.size
    summary, own = measure_images(model, config, prepared)
    rows = []
    for name in names:
        changed, tally = measure_images(model, dataclasses.replace(config, resize_method=name), prepared)
        rows.append(
            {
                "resize_method": name,
                "resize": resize_methods.in_words(name, size.resolution, size.resize_size),
                "top1": changed["top1"],
                "top1_interval": changed["top1_interval"],
                "agreement": float(np.mean(tally.answers == own.answers)),
                **paired_difference(tally.right, own.right),
            }
        )
    note = ""
    if prepared.source.image_size == size.resolution == size.resize_size:
        note = "these images have the input's size already, so most resizers leave them as they are"
    return summary | {"resizes": rows, "resizes_note": note}


def facts_for_people(summary: dict[str, Any]) -> dict[str, str]:
    """The rows in a printable line each."""
    facts = {}
    for row in summary["resizes"]:
        low, high = (100 * end for end in row["difference_interval"])
        facts[f"  {row['resize_method']}"] = (
            f"{row['top1']:.2%}, {100 * row['difference']:+.2f} points (95 % interval {low:+.2f} to "
            f"{high:+.2f}, p = {row['p_value']:.3g}), same answer for {row['agreement']:.2%}"
        )
    if summary["resizes_note"]:
        facts["note"] = summary["resizes_note"]
    return facts
