"""How a `.tflite` wants its images, in words: rows for its model card and for the report."""

import pathlib

from export import file_facts
from export.file_description import INPUT_RULES
from quant import flatbuffer


def input_rows(path: pathlib.Path) -> list[tuple[str, str]]:
    """(what, how) of the input tensor and of what is done to an image before.

    Raises:
      UserError: the file is damaged.
    """
    graph, facts = flatbuffer.read_file(path).main, file_facts.read(path)
    tensor = graph.tensors[graph.inputs[0]]
    rows = [("tensor", f"{tensor_in_words(tensor)}, RGB")]
    if facts and facts.resize_size:
        side = facts.crop_size or tensor.shape[1]
        rows += [
            ("resize", f"short side to {facts.resize_size} pixels, {facts.resize_method}"),
            ("crop", f"{side} × {side} pixels at the {facts.crop_place}"),
        ]
    return [*rows, ("values", f"{INPUT_RULES[tensor.dtype]}, of pixels 0 to 255")]


def tensor_in_words(tensor: flatbuffer.Tensor) -> str:
    """Type, shape and grid of a tensor."""
    grid = ""
    if len(tensor.scales):
        grid = f", scale {float(tensor.scales[0]):.6g}, zero point {int(tensor.zero_points[0])}"
    return f"{tensor.dtype} {list(tensor.shape)}{grid}"
