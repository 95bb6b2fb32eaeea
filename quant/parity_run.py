"""Reads a fine-tuned model, its file and images, and compares them layer by layer."""

import dataclasses
from typing import Any

import numpy as np

from nas_tf.base.errors import require
from nas_tf.data import batches
from nas_tf.data.opening import open_config
from quant import flatbuffer
from quant.model import load_qat_model
from quant.parity_config import ParityConfig
from quant.parity_layers import LayerParity, compare_layers, require_runtime, to_table


@dataclasses.dataclass(frozen=True)
class ParityResult:
    """Outcome of a comparison.

    Attributes:
      rows: one per layer.
      figures: of the logits: differing, integer_differing, largest_steps, snr_db, and the
        layer where the first difference arises.
      table: the rows for a person.
    """

    rows: list[LayerParity]
    figures: dict[str, Any]
    table: str


def run_parity(config: ParityConfig) -> ParityResult:
    """Compares the model with the file on the first images of the evaluation split.

    Raises:
      UserError: no such model, file or images, or the file is of another network.
    """
    require_runtime(config.runtime)
    # The file first, which takes far less time than building a network that it may not fit.
    content = flatbuffer.read_content(config.tflite)
    flatbuffer.parse(content, f"model {config.tflite!r}")
    model, description = load_qat_model(config.model)
    source = open_config(config.data)
    split = source.evaluation_split(config.data.eval_split)
    require(
        source.num_classes == description.num_classes,
        f"The model {config.model!r} has {description.num_classes} classes, but the dataset "
        f"{config.data.dataset!r} has {source.num_classes}.",
    )
    dataset = batches.evaluation_batches(
        source, split, config.num_images, description.resolution, description.resize_size
    )
    images, _ = next(iter(batches.readable(source, dataset)))
    rows = compare_layers(model, content, np.asarray(images), config.runtime)
    last = rows[-1]
    first = next((row.layer for row in rows if row.differing > 0), "none")
    figures = {
        "images": len(images),
        "runtime": config.runtime,
        "logits_differing": last.differing,
        "logits_integer_differing": last.integer,
        "largest_steps": last.largest_steps,
        "snr_db": last.snr_db,
        "first_difference": first,
        "integer_layers_equal": sum(row.integer == 0 for row in rows),
        "layers": len(rows),
    }
    return ParityResult(rows, figures, to_table(rows))
