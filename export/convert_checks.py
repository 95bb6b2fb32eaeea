"""What a converted model must satisfy; each check reads the flatbuffer and not the converter's word."""

import numpy as np

from export.converter import run_once
from nas_tf.errors import require
from quant.flatbuffer import Graph, Tensor

# The network reads (uint8 − 128) / 128, so uint8 pixels are exactly representable.
INPUT_SCALE = 1 / 128
_ZERO_POINTS = {"uint8": 128, "int8": 0}
# Operators that may stand between a float input or output and the integers inside.
_EDGES = ("QUANTIZE", "DEQUANTIZE")
# A truly per-channel kernel reaches 127 in every channel; a per-tensor one leaves many far below.
MIN_FILL = 64
# Steps so small that the channel is dead; the converter does not go lower.
_DEAD_STEP = 1e-7


def require_types(graph: Graph, input_type: str, output_type: str, num_classes: int) -> None:
    """One input and one output of the asked types, the input on the pixel grid."""
    require(len(graph.inputs) == 1 and len(graph.outputs) == 1,
            f"The converted model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; "
            "one each is needed.")
    image, logits = (graph.tensors[i] for i in (*graph.inputs, *graph.outputs))
    for what, tensor, asked in (("input", image, input_type), ("output", logits, output_type)):
        require(tensor.dtype == asked,
                f"The converted model's {what} is {tensor.dtype}; {asked} was asked for.")
    require(logits.shape == (1, num_classes),
            f"The converted model's output has the shape {list(logits.shape)}, "
            f"not [1, {num_classes}].")
    if input_type in _ZERO_POINTS:
        _require_pixel_grid(image)


def _require_pixel_grid(image: Tensor) -> None:
    scale, zero_point = float(image.scales[0]), int(image.zero_points[0])
    expected = _ZERO_POINTS[image.dtype]
    # The converter computes the scale from the range's ends in float32.
    require(abs(scale / INPUT_SCALE - 1) < 1e-5 and zero_point == expected,
            f"The converted model's input has scale {scale:.8g} and zero point {zero_point}; "
            f"1/128 and {expected} are needed, the range [-1, 127/128].")


def require_integers(graph: Graph) -> None:
    """Only integer tensors inside; a float input or output may be converted at once."""
    edges = {*graph.inputs, *graph.outputs}
    inside = [t for t in graph.tensors if t.is_float and t.index not in edges]
    require(not inside,
            f"{len(inside)} tensors of the converted model are float, the first "
            f"{inside[0].name if inside else ''!r}; python -m quant.audit shows where.")
    for operator in graph.operators:
        touches_float = any(graph.tensors[i].is_float for i in operator.inputs + operator.outputs)
        require(not touches_float or operator.name in _EDGES,
                f"The operator {operator.name} of the converted model computes in float.")


def channel_fill(kernel: Tensor) -> np.ndarray:
    """Largest |int8| of each live channel of a depthwise kernel [1, h, w, channels].

    Channels of zeros, or whose steps are as good as zero, say nothing and are left out.
    """
    fill = np.abs(kernel.values.astype(np.int32)).max(axis=(0, 1, 2))
    return fill[(fill > 0) & (np.broadcast_to(kernel.scales, fill.shape) > _DEAD_STEP)]


def require_per_channel(graph: Graph) -> int:
    """Depthwise kernels with their own range a channel; returns the smallest fill, 127 at best."""
    smallest = 127
    for operator in graph.operators:
        if operator.name != "DEPTHWISE_CONV_2D":
            continue
        kernel = graph.tensors[operator.inputs[1]]
        fill = channel_fill(kernel)
        poor = int((fill < MIN_FILL).sum())
        require(poor == 0 and kernel.per_channel == (kernel.shape[-1] > 1),
                f"The depthwise kernel {kernel.name!r} was quantized per tensor: {poor} of "
                f"{len(fill)} channels use less than half of the int8 range.")
        smallest = min([smallest, *map(int, fill)])
    return smallest


def require_runs(content: bytes, graph: Graph) -> None:
    """Runs one noise image and looks at the output's shape and values."""
    image, logits = (graph.tensors[i] for i in (*graph.inputs, *graph.outputs))
    noise = np.random.default_rng(0).integers(0, 256, image.shape)
    if image.dtype == "float32":
        noise = (noise - 128) / 128
    elif image.dtype == "int8":
        noise = noise - 128
    output = run_once(content, noise.astype(image.dtype))
    require(output.shape == logits.shape and bool(np.isfinite(output.astype(np.float64)).all()),
            "The converted model does not give finite logits for an image of noise.")
