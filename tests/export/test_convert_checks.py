"""What a converted file is refused for, on graphs written by hand."""

import dataclasses

import numpy as np
import pytest

from export import convert_checks
from nas_tf.base.errors import UserError
from quant.audit_result import Audit, KernelFacts
from quant.flatbuffer import Graph, Tensor


def _tensor(index, dtype="uint8", shape=(1, 8, 8, 3), scale=1 / 128, zero_point=128):
    quantized = dtype != "float32"
    return Tensor(
        index,
        f"t{index}",
        dtype,
        shape,
        np.array([scale] if quantized else []),
        np.array([zero_point] if quantized else [], np.int64),
        0,
        None,
    )


def _graph(image=None, logits=None, outputs=(1,)):
    tensors = (image or _tensor(0), logits or _tensor(1, shape=(1, 5), scale=0.1, zero_point=7))
    return Graph("main", tensors, (), (0,), outputs)


def test_a_good_graph_passes():
    convert_checks.require_types(_graph(), "uint8", "uint8", 5)
    convert_checks.require_types(_graph(_tensor(0, "int8", zero_point=0)), "int8", "uint8", 5)
    floats = _graph(_tensor(0, "float32"), _tensor(1, "float32", (1, 5)))
    convert_checks.require_types(floats, "float32", "float32", 5)


@pytest.mark.parametrize(
    "graph, types, classes, message",
    [
        (_graph(outputs=(0, 1)), ("uint8", "uint8"), 5, "has 1 inputs and 2 outputs; one each is needed"),
        (_graph(), ("int8", "uint8"), 5, "'s input is uint8; int8 was asked for"),
        (_graph(), ("uint8", "float32"), 5, "'s output is uint8; float32 was asked for"),
        (_graph(), ("uint8", "uint8"), 6, r"output has the shape \[1, 5\], not \[1, 6\]"),
        (
            _graph(_tensor(0, scale=1 / 127.5)),
            ("uint8", "uint8"),
            5,
            "scale 0.0078431373 and zero point 128; 1/128 and 128 are needed",
        ),
        (_graph(_tensor(0, zero_point=127)), ("uint8", "uint8"), 5, "zero point 127; 1/128 and 128"),
        (_graph(_tensor(0, "int8")), ("int8", "uint8"), 5, "zero point 128; 1/128 and 0 are needed"),
    ],
)
def test_other_graphs_are_refused(graph, types, classes, message):
    with pytest.raises(UserError, match=message):
        convert_checks.require_types(graph, *types, classes)


def test_a_scale_computed_in_float32_is_near_enough():
    image = _tensor(0, scale=float(np.float32(127 / 128 + 1) / np.float32(255)) * (1 + 5e-6))
    convert_checks.require_types(_graph(image), "uint8", "uint8", 5)


CLEAN = Audit("m", "tflite", (), (), (), (), (), (), (), (), {})


def _audit(**found) -> Audit:
    return dataclasses.replace(CLEAN, **found)


@pytest.mark.parametrize(
    "audit, message",
    [
        (_audit(missing=("add", "mean")), "2 operators .* compute in float, the first at 'add'"),
        (_audit(float_tensors=("pool",)), "compute in float, the first at 'pool'"),
        (
            _audit(interior_quantize_ops=("QUANTIZE a", "DEQUANTIZE b")),
            "requantizes inside, 2 times, the first at 'QUANTIZE a'",
        ),
    ],
)
def test_floats_and_conversions_inside_are_refused(audit, message):
    convert_checks.require_integers(CLEAN)
    with pytest.raises(UserError, match=message):
        convert_checks.require_integers(audit)


def test_the_least_filled_kernel_is_told():
    kernels = (KernelFacts("a", 4, 4, 127, 0), KernelFacts("b", 4, 4, 90, 0), KernelFacts("c", 1, 1, 3, 1))
    assert convert_checks.require_per_channel(_audit(kernels=kernels)) == 3  # one channel is its own range
    assert convert_checks.require_per_channel(CLEAN) == 127


def test_a_kernel_rounded_by_one_range_is_refused_whatever_its_scales():
    kernels = (
        KernelFacts("good", 4, 4, 127, 0),
        KernelFacts("poor", 8, 8, 9, 5),
        KernelFacts("one", 8, 1, 127, 0),
    )
    with pytest.raises(UserError, match=r"'poor' .* 5 of its 8 channels .* \(2 such kernels\)"):
        convert_checks.require_per_channel(_audit(kernels=kernels))
