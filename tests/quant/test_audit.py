"""The audit finds each known fault in graphs that have it, and nothing in ours."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from quant import audit_picture, flatbuffer
from quant.audit_result import Audit, Node, islands, kernel_facts, range_fault
from quant.audit_tflite import audit_flatbuffer

SVG = "{http://www.w3.org/2000/svg}"


def network(bare_add=False):
    """Convolution, depthwise, shortcut (a layer or bare `x + y`), pooling, 1×1 head."""
    import tf_keras as keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, use_bias=False, name="stem_conv")(image)
    x = layers.ReLU(6.0, name="stem_relu")(layers.BatchNormalization(name="stem_bn")(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depth_conv")(x)
    y = layers.ReLU(6.0, name="depth_relu")(layers.BatchNormalization(name="depth_bn")(y))
    y = layers.Conv2D(8, 1, name="point_conv")(y)
    y = x + y if bare_add else layers.Add(name="add")([x, y])
    y = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(y)
    y = layers.Flatten(name="flatten")(layers.Conv2D(3, 1, name="logits")(y))
    model = keras.Model(image, y)
    # Channels of very different size, as trained networks have them.
    kernel = model.get_layer("depth_conv").depthwise_kernel
    kernel.assign(kernel * np.geomspace(0.01, 1, 8).astype(np.float32)[:, None])
    return model


def images():
    return (np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3)).astype(np.float32) - 128) / 128


def to_flatbuffer(model):
    from export.converter import convert_keras

    return flatbuffer.parse(convert_keras(model, "uint8", "uint8", quantized=True))


@pytest.fixture(scope="module", name="ours")
def ours_fixture():
    """A calibrated network of our scheme: (Keras audit, file audit)."""
    from quant import ranges, scheme
    from quant.audit_keras import audit_keras

    model, rewritten, _ = scheme.quantize(network())
    uncalibrated = audit_keras(model, "uncalibrated")
    ranges.calibrate(rewritten, model, [images()])
    return (audit_keras(model, "ours"), audit_flatbuffer(to_flatbuffer(model), "ours"), uncalibrated)


@pytest.fixture(scope="module", name="defaults")
def defaults_fixture():
    """tfmot's default scheme after a few steps of range collection."""
    import tensorflow_model_optimization as tfmot

    from quant.audit_keras import audit_keras

    model = tfmot.quantization.keras.quantize_model(network())
    for _ in range(3):
        model(images(), training=True)
    return audit_keras(model, "defaults"), audit_flatbuffer(to_flatbuffer(model), "defaults")


@pytest.fixture(scope="module", name="gaps")
def gaps_fixture():
    """A bare `x + y`, and a convolution left out of the annotation."""
    import tensorflow_model_optimization as tfmot
    import tf_keras as keras

    from quant.audit_keras import audit_keras

    def annotate(layer):
        left_out = layer.name == "point_conv" or "add" in layer.name
        return layer if left_out else tfmot.quantization.keras.quantize_annotate_layer(layer)

    annotated = keras.models.clone_model(network(bare_add=True), clone_function=annotate)
    model = tfmot.quantization.keras.quantize_apply(annotated)
    for _ in range(3):
        model(images(), training=True)
    return audit_keras(model, "gaps"), audit_flatbuffer(to_flatbuffer(model), "gaps")


@pytest.mark.parametrize("kind", [0, 1], ids=["keras", "tflite"])
def test_nothing_is_found_in_ours(ours, kind):
    audit = ours[kind]
    assert audit.num_findings == 0, audit.to_text()
    assert audit.to_json()["per_channel"] is True
    assert len(audit.kernels) == 4
    assert {k.min_fill for k in audit.kernels} == {127}


def test_ranges_that_nobody_set(ours):
    faults = {f.name: f.fault for f in ours[2].range_faults}
    assert faults["quant_stem_relu"] == faults["quant_add"] == "never set"
    assert faults["quant_logits"] == "never set"


@pytest.mark.parametrize("kind", [0, 1], ids=["keras", "tflite"])
def test_the_default_scheme_rounds_depthwise_kernels_per_tensor(defaults, kind):
    audit = defaults[kind]
    poor = [k for k in audit.kernels if not k.per_channel]
    assert ["depth" in k.name for k in poor] == [True]
    assert poor[0].channels == 8 and poor[0].under_filled >= 4 and poor[0].min_fill < 10
    assert audit.to_json()["per_channel"] is False


def test_the_vector_of_scales_proves_nothing():
    """Batch norm folded in gives a per-tensor kernel one scale a channel all the same."""
    integers = np.array([[127, 20, 5, 0]], np.int8)
    facts = kernel_facts("k", integers, np.array([1.0, 0.5, 0.25, 0.1]))
    assert (facts.scales, facts.channels, facts.under_filled) == (4, 4, 2)
    assert facts.min_fill == 5 and not facts.per_channel


def test_dead_channels_are_no_evidence():
    integers = np.array([[127, 20, 127]], np.int8)
    assert kernel_facts("k", integers, np.array([0.1, 4e-9, 0.1])).per_channel
    assert not kernel_facts("k", integers, np.array([0.1, 4e-3, 0.1])).per_channel


def test_ranges_near_tfmots_start_are_reported(defaults):
    for audit in defaults:
        names = {f.name.removeprefix("quant_") for f in audit.range_faults if f.fault == "never set"}
        assert {"stem_relu", "depth_relu", "add"} <= names


def test_gaps_in_the_keras_graph(gaps):
    audit = gaps[0]
    assert "point_conv" in audit.missing
    assert any("add" in name for name in audit.missing)
    assert len(audit.float_islands) == 1 and len(audit.float_islands[0]) == 2


def test_a_kernel_that_tfmot_forgets():
    """Between a convolution and its ReLU without batch norm tfmot drops the kernel's quantizer."""
    import tensorflow_model_optimization as tfmot
    import tf_keras as keras

    from quant.audit_keras import audit_keras

    model = keras.Sequential(
        [
            keras.layers.Conv2D(4, 3, input_shape=(8, 8, 3), name="conv"),
            keras.layers.ReLU(6.0),
            keras.layers.Flatten(),
        ]
    )
    audit = audit_keras(tfmot.quantization.keras.quantize_model(model), "model")
    assert audit.missing == ("quant_conv",)
    (node,) = [node for node in audit.nodes if node.name == "quant_conv"]
    assert node.problems == ("kernel has no fake quantizer",)


def test_gaps_in_the_file(gaps):
    audit = gaps[1]
    kinds = {node.kind for node in audit.nodes if not node.quantized}
    assert any(kind.startswith("CONV_2D") for kind in kinds)
    assert any(kind.startswith("ADD") for kind in kinds)
    assert audit.interior_quantize_ops and audit.float_tensors and audit.float_islands
    assert audit.to_json()["missing"] == list(audit.missing) != []


@pytest.mark.parametrize(
    "low, high, fault",
    [
        (0.0, 0.0, "never set"),
        (-6.0, 6.0, "never set"),
        (-5.95, 5.99, "never set"),
        (0.0, 6.0, None),
        (-3.0, 6.0, None),
        (0.0, 1e-7, "dead"),
        (-1e5, 1.0, "exploded"),
        (0.0, float("inf"), "exploded"),
        (float("nan"), 1.0, "exploded"),
        (-1.0, 127 / 128, None),
    ],
)
def test_range_faults(low, high, fault):
    found = range_fault("x", low, high)
    assert (found.fault if found else None) == fault


def nodes(*inputs):
    return tuple(Node(f"n{i}", "OP", tuple(sources), "", True) for i, sources in enumerate(inputs))


def test_islands_are_connected_groups():
    graph = nodes([], [0], [1], [2], [3], [1, 4])
    assert islands({1, 2, 4}, graph) == (("n1", "n2"), ("n4",))
    assert islands({1, 4, 5}, graph) == (("n1", "n4", "n5"),)
    assert islands(set(), graph) == ()


def test_layout_puts_every_node_under_what_feeds_it():
    graph = nodes([], [0], [1], [0, 2], [3])
    assert audit_picture.depths(graph) == [0, 1, 2, 3, 4]
    wide = nodes([], [0], [0], [0], [1, 2, 3])
    places = audit_picture._places(wide)
    assert len(set(places)) == 5  # no box covers another
    assert len({y for _, y in places[1:4]}) == 1


def test_picture_marks_the_faults(gaps):
    audit = gaps[1]
    root = ElementTree.fromstring(audit_picture.to_svg(audit.nodes))
    groups = root.findall(f"{SVG}g")
    assert len(groups) == len(audit.nodes)
    assert sum(g.get("class") == "float" for g in groups) == len(audit.missing)
    edges = [p for p in root.findall(f"{SVG}path") if p.get("marker-end")]
    assert len(edges) == sum(len(node.inputs) for node in audit.nodes)
    page = audit_picture.to_html(audit)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")  # nothing from elsewhere
    assert "findings; the nodes concerned are marked" in page


def test_names_in_a_file_cannot_become_markup():
    node = Node("<script>x</script>", "A&B", (), '"', False, ("<b>",))
    audit = Audit("<m>", "tflite", (node,), ("<script>",), (), (), (), (), (), (), {})
    page = audit_picture.to_html(audit)
    assert "<script>" not in page and "<m>" not in page
    ElementTree.fromstring(audit_picture.to_svg(audit.nodes))


def test_command_writes_json_and_picture(tmp_path):
    """On a file whose audit is known: one operator in float."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])
    def double(x):
        return tf.nn.relu(x) + 1.0

    converter = tf.lite.TFLiteConverter.from_concrete_functions([double.get_concrete_function()])
    (tmp_path / "m.tflite").write_bytes(converter.convert())
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "quant.audit",
            f"--model={tmp_path / 'm.tflite'}",
            f"--output_json={tmp_path / 'a.json'}",
            f"--output_html={tmp_path / 'a.html'}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads((tmp_path / "a.json").read_text())
    assert len(found["missing"]) == 2 and len(found["float_islands"]) == 1
    assert set(found) >= {"missing", "float_tensors", "interior_quantize_ops", "per_channel"}
    assert "not quantized: 2" in result.stdout
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")


def test_a_float_model_folder_is_refused(tmp_path):
    from nas_tf.base import files
    from nas_tf.network import model_folder
    from nas_tf.space.architecture import from_string
    from quant.audit_run import run_audit

    description = model_folder.ModelDescription("float", from_string("s8x2 1_3c8 h8"), 16, 2, ("a", "b"), 18)
    files.write_json(tmp_path / "model.json", description.to_json())
    with pytest.raises(UserError, match="float model, which has no fake quantizers"):
        run_audit(str(tmp_path))


def _tensor(index: int, shape: tuple, dtype="int8", scales=1, axis=0, constant=True) -> flatbuffer.Tensor:
    values = np.ones(shape, dtype) if constant else None
    return flatbuffer.Tensor(
        index, f"t{index}", dtype, shape, np.ones(scales), np.zeros(scales, np.int64), axis, values
    )


def _audit(*tensors: flatbuffer.Tensor, name="CONV_2D", inputs=(0, 1, 2), outputs=(3,)):
    operator = flatbuffer.Operator(name, inputs, outputs)
    graph = flatbuffer.Graph("main", tensors, (operator,), (0,), (3,))
    return audit_flatbuffer(flatbuffer.FlatModel((graph,), 0), "damaged")


_SOURCE, _SINK = _tensor(0, (1, 4, 4, 3), constant=False), _tensor(3, (1, 4, 4, 8), constant=False)


def test_a_kernels_channels_are_those_of_the_dimension_that_its_scales_name():
    """A depthwise kernel's is 3 as a rule; a file may say otherwise, and the reader takes its word."""
    kernel, bias = _tensor(1, (1, 3, 3, 8), scales=3, axis=1), _tensor(2, (8,), "int32", scales=8)
    audit = _audit(_SOURCE, kernel, bias, _SINK, name="DEPTHWISE_CONV_2D")
    assert [(k.channels, k.scales) for k in audit.kernels] == [(3, 3)]


@pytest.mark.parametrize(
    "kernel, bias, kernels",
    [
        (_tensor(1, (0, 3, 3, 3)), _tensor(2, (8,), "int32"), 0),
        (_tensor(1, ()), _tensor(2, (8,), "int32"), 0),
        (_tensor(1, (8, 1, 1, 3)), _tensor(2, (5,), "int32"), 1),
        (_tensor(1, (8, 1, 1, 3), scales=8), _tensor(2, (8,), "int32", scales=0), 1),
    ],
    ids=["empty kernel", "kernel without dimensions", "bias of other channels", "bias without scales"],
)
def test_shapes_that_do_not_fit_each_other(kernel, bias, kernels):
    assert len(_audit(_SOURCE, kernel, bias, _SINK).kernels) == kernels


def test_operators_without_inputs_or_outputs():
    kernel, bias = _tensor(1, (8, 1, 1, 3)), _tensor(2, (8,), "int32")
    assert len(_audit(_SOURCE, kernel, bias, _SINK, outputs=()).kernels) == 1
    assert _audit(_SOURCE, kernel, bias, _SINK, name="RELU6", inputs=()).unfused == ()
