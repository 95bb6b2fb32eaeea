"""What a conversion may be asked for, without converting."""

import dataclasses
import types

import pytest

from export import convert_run
from export.convert_run import ConvertConfig, run_convert
from nas_tf.base.errors import UserError


def _description(kind="qat", num_classes=4, has_background=False):
    return types.SimpleNamespace(kind=kind, num_classes=num_classes, has_background=has_background)


@pytest.mark.parametrize(
    "asked, has_background, given", [(0, False, 5), (4, False, 4), (5, False, 5), (0, True, 4), (4, True, 4)]
)
def test_class_counts(asked, has_background, given):
    config = ConvertConfig(num_classes=asked)
    assert convert_run._num_classes(_description(has_background=has_background), config) == given


@pytest.mark.parametrize(
    "asked, has_background, allowed",
    [
        (3, False, r"allowed: 5 \(with a new background class\) or 4 \(without a new background class\)"),
        (6, False, "allowed: 5"),
        (5, True, r"allowed: 4 \(without a new background class\)\.$"),
    ],
)
def test_other_class_counts_are_refused(asked, has_background, allowed):
    with pytest.raises(UserError, match=f"--num_classes={asked} .* which has 4 classes; {allowed}"):
        convert_run._num_classes(
            _description(has_background=has_background), ConvertConfig(num_classes=asked)
        )


@pytest.mark.parametrize(
    "kind, ends, flag",
    [
        ("qat", ("int16", "uint8"), "input"),
        ("qat", ("uint8", "bool"), "output"),
        ("float", ("uint8", "float32"), "input"),
        ("float", ("float32", "int8"), "output"),
    ],
)
def test_types_are_refused_by_their_flag(kind, ends, flag):
    config = dataclasses.replace(ConvertConfig(), input_type=ends[0], output_type=ends[1])
    with pytest.raises(UserError, match=f"--inference_{flag}_type="):
        convert_run._require_types(_description(kind), config, "folder")


@pytest.mark.parametrize("kind, types_", [("qat", ("uint8", "int8", "float32")), ("float", ("float32",))])
def test_allowed_types(kind, types_):
    for one in types_:
        for other in types_:
            convert_run._require_types(
                _description(kind), ConvertConfig(input_type=one, output_type=other), "folder"
            )


def test_nowhere_to_write_is_refused():
    with pytest.raises(UserError, match="needs a workdir or an output file"):
        run_convert("", ConvertConfig(model="m"))


def test_facts_for_people_say_what_there_is():
    grid = {"dtype": "uint8", "shape": [1, 4], "scale": 0.0078125, "zero_point": 128}
    summary = {
        "output": "m.tflite",
        "bytes": 7,
        "num_classes": 5,
        "input": grid,
        "output_tensor": {"dtype": "float32", "shape": [1, 5]},
        "background_source": 0,
        "background_margin_steps": 32.5,
    }
    facts = convert_run.facts_for_people(summary)
    assert facts["input"] == "uint8 [1, 4], scale 0.0078125, zero point 128"
    assert facts["output"] == "float32 [1, 5]"
    # Class 0 is a class too.
    assert facts["background is like class"] == 0
    assert facts["background's margin (int8 steps)"] == 32.5
    without = convert_run.facts_for_people(
        summary | {"background_source": None, "background_margin_steps": None}
    )
    assert not any("background" in name for name in without)
