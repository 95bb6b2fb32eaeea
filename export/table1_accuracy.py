"""Accuracies of runs whose networks are rows of the paper's Table 1."""

import pathlib
from collections.abc import Sequence
from typing import Any

from export.tally import top1_interval
from nas_tf.base.errors import require
from nas_tf.base.run_folder import EVALUATE, RunFolder
from nas_tf.network.model_folder import DESCRIPTION_FILE, read_description
from nas_tf.space.architecture import Architecture

Networks = Sequence[tuple[str, Architecture, int]]


def accuracies(runs: Sequence[str], networks: Networks) -> dict[str, dict[str, Any]]:
    """What the runs measured, by the name of the network that each trained or imported.

    Args:
      runs: run folders whose evaluation has ended.
      networks: name, architecture and resolution of each row.

    Returns:
      For each name: `run`, `dataset`, `split`, and `float` and `int8`, each with `top1`, `interval` and
      `images`, as far as they were evaluated.

    Raises:
      UserError: a run that is none, was not evaluated, is of none of the networks, or of one given twice.
    """
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        name = _row_of(run, networks)
        require(
            name not in found,
            f"--run={run!r} and {found.get(name, {}).get('run')!r} are both of {name}; give one of them.",
        )
        found[name] = {"run": run} | _evaluated(run)
    return found


def _row_of(run: str, networks: Networks) -> str:
    model = RunFolder(run).float_model
    require(
        (model / DESCRIPTION_FILE).is_file(),
        f"--run={run!r} holds no trained or imported network ({str(pathlib.Path(model))!r}).",
    )
    described = read_description(model)
    for name, architecture, resolution in networks:
        # Networks with imported weights pad as theirs were trained; the convolutions are the same.
        same = described.architecture.blocks == architecture.blocks
        same = same and described.architecture.head_width == architecture.head_width
        if same and described.resolution == resolution:
            return name
    names = ", ".join(name for name, _, _ in networks)
    require(
        False,
        f"--run={run!r} holds {described.architecture.name or 'a network'} at {described.resolution} pixels, "
        f"which is no row of Table 1; allowed: {names}.",
    )
    return ""


def _evaluated(run: str) -> dict[str, Any]:
    summary = RunFolder(run).stage(EVALUATE).summary()
    require(summary is not None, f"--run={run!r} was not evaluated yet; run export.evaluate --workdir={run}.")
    rows = {
        kind: {"top1": row["top1"], "interval": list(top1_interval(row)), "images": row["num_examples"]}
        for kind in ("float", "int8")
        if (row := (summary or {}).get(kind))
    }
    return {key: (summary or {}).get(key) for key in ("dataset", "split")} | rows
