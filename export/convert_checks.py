"""What a converted model must satisfy, read from the flatbuffer and not taken on trust."""

from nas_tf.base.errors import UserError, require
from quant.audit_result import Audit
from quant.flatbuffer import Graph, Tensor
from quant.int8 import INPUT_SCALE, INPUT_ZERO_POINTS, KERNEL_HIGH


def require_types(graph: Graph, input_type: str, output_type: str, num_classes: int) -> None:
    """One input and one output of the asked types, the input on the pixel grid."""
    require(
        len(graph.inputs) == 1 and len(graph.outputs) == 1,
        f"The converted model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; "
        "one each is needed.",
    )
    image, logits = (graph.tensors[i] for i in (*graph.inputs, *graph.outputs))
    for what, tensor, asked in (("input", image, input_type), ("output", logits, output_type)):
        require(
            tensor.dtype == asked, f"The converted model's {what} is {tensor.dtype}; {asked} was asked for."
        )
    require(
        logits.shape == (1, num_classes),
        f"The converted model's output has the shape {list(logits.shape)}, not [1, {num_classes}].",
    )
    if input_type in INPUT_ZERO_POINTS:
        _require_pixel_grid(image)


def _require_pixel_grid(image: Tensor) -> None:
    scale, zero_point = float(image.scales[0]), int(image.zero_points[0])
    expected = INPUT_ZERO_POINTS[image.dtype]
    # The converter computes the scale from the range's ends in float32.
    require(
        abs(scale / INPUT_SCALE - 1) < 1e-5 and zero_point == expected,
        f"The converted model's input has scale {scale:.8g} and zero point {zero_point}; "
        f"1/128 and {expected} are needed, the range [-1, 127/128].",
    )


def require_integers(audit: Audit) -> None:
    """Only integer tensors inside; a float input or output may be converted at once."""
    wrong = [*audit.missing, *audit.float_tensors]
    # The messages are made even where nothing is wrong, hence their "else".
    require(
        not wrong,
        f"{len(audit.missing)} operators of the converted model compute in float, the first at "
        f"{wrong[0] if wrong else ''!r}; python -m quant.audit shows where.",
    )
    inside = audit.interior_quantize_ops
    require(
        not inside,
        f"The converted model requantizes inside, {len(inside)} times, the first "
        f"at {inside[0] if inside else ''!r}; python -m quant.audit shows where.",
    )


def require_per_channel(audit: Audit) -> int:
    """Every kernel with a range of its own per channel; returns the smallest fill, 127 at best."""
    poor = [kernel for kernel in audit.kernels if not kernel.per_channel]
    if poor:
        raise UserError(
            f"The kernel {poor[0].name!r} was quantized per tensor: {poor[0].under_filled} of its "
            f"{poor[0].channels} channels use less than half of the int8 range "
            f"({len(poor)} such kernels)."
        )
    return min((kernel.min_fill for kernel in audit.kernels), default=KERNEL_HIGH)
