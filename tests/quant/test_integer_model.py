"""The integer form against integer arithmetic in numpy, and against the file itself."""

import numpy as np
import pytest
import tf_keras as keras

from nas_tf.base.errors import UserError
from quant import flatbuffer, ranges, scheme
from quant.integer_model import IntegerModel, grid_of, simulation
from quant.parity_layers import compare_layers, file_tensors, layer_of_tensor, to_table
from quant.quantizer_list import activation_ranges, kernel_ranges

layers = keras.layers


def _pixels(count: int = 6) -> np.ndarray:
    return np.random.default_rng(9).integers(0, 256, (count, 16, 16, 3)).astype(np.uint8)


def test_a_pointwise_convolution_by_hand():
    x = keras.Input((2, 2, 3))
    model = keras.Model(x, layers.Conv2D(2, 1, name="only")(x))
    kernel = np.array([[1.27, -0.3], [0.5, 0.6], [-0.01, 2.54]], np.float32)
    model.get_layer("only").set_weights([kernel[None, None], np.array([0.1, -0.2])])
    qat_model, _, _ = scheme.quantize(model)
    activation_ranges(qat_model)[-1].assign(-4.0, 6.2)
    kernel_ranges(qat_model)[0].fit()
    pixels = np.array([[[[0, 128, 255], [1, 2, 3]], [[200, 100, 50], [128, 128, 128]]]])
    centered = (pixels - 128).astype(np.int64)
    # Steps: input 1/128; kernel 0.01 and 0.02; output 10.2 / 255 = 0.04, zero at 100.
    integers = np.array([[127, -15], [50, 30], [-1, 127]])
    bias = np.array([round(0.1 * 128 / 0.01), round(-0.2 * 128 / 0.02)])
    exact = (centered @ integers + bias) * np.array([0.01, 0.02]) / 128 / 0.04
    expected = np.clip(np.rint(exact), -100, 155)
    found = IntegerModel(qat_model).layer_values(centered.astype(np.float32) / 128)
    np.testing.assert_array_equal(found["quant_only"], expected)


def test_a_bias_beyond_what_float32_counts_is_added_in_integers():
    random = np.random.default_rng(0)
    x = keras.Input((64, 64, 3))
    model = keras.Model(x, layers.Conv2D(256, 1, name="only")(x))
    # Biases of about 2^26 accumulator steps: as float32 they would be rounded before the sum.
    kernel, bias = random.normal(0, 2e-4, (1, 1, 3, 256)), random.uniform(2, 3, 256)
    model.get_layer("only").set_weights([kernel, bias])
    qat_model, _, _ = scheme.quantize(model)
    activation_ranges(qat_model)[-1].assign(-4.0, 4.0)
    entry = kernel_ranges(qat_model)[0]
    entry.fit()
    centered = random.integers(-128, 128, (1, 64, 64, 3))
    found = IntegerModel(qat_model).layer_values(centered.astype(np.float32) / 128)["quant_only"]
    scales = np.float32(entry.scales)
    integers = np.floor(entry.kernel.numpy()[0, 0].astype(np.float64) / scales + 0.5).astype(np.int64)
    counts = np.rint(entry.bias.numpy().astype(np.float64) / (np.float64(scales) / 128)).astype(np.int64)
    assert np.abs(counts).min() > 2**24
    grid = grid_of(activation_ranges(qat_model)[-1])
    totals = (centered @ integers + counts).astype(np.float32)
    multiplier = np.float32(1 / 128) * scales / grid.scale
    expected = np.rint(np.clip(totals * multiplier, grid.low, grid.high))
    np.testing.assert_array_equal(found, expected)


def test_the_integer_form_is_the_file_bit_for_bit(converted):
    qat_model, content = converted
    rows = compare_layers(qat_model, content, _pixels())
    assert len(rows) >= 14
    assert {row.layer: row.integer for row in rows} == {row.layer: 0.0 for row in rows}


def test_fake_quantization_differs_by_single_steps_only(converted):
    qat_model, content = converted
    rows = compare_layers(qat_model, content, _pixels())
    assert all(row.alone < 0.01 for row in rows)
    assert max(row.largest_steps for row in rows) <= 3
    assert rows[-1].snr_db > 30
    table = to_table(rows).splitlines()
    assert len(table) == len(rows) + 1 and "quant_logits" in to_table(rows)


def test_the_builtin_kernels_round_a_little_differently_in_every_layer(converted):
    qat_model, content = converted
    rows = compare_layers(qat_model, content, _pixels(), "builtin")
    # They round twice where XNNPACK rounds once; their mean rounds in its own way.
    alone = {row.layer: row.alone for row in rows if "pool" not in row.layer}
    assert 0 < max(alone.values()) < 0.02


def test_a_changed_bias_is_found_where_it_is(converted):
    qat_model, content = converted
    bias = next(k for k in kernel_ranges(qat_model) if k.source == "block1_expand_conv").bias
    before = bias.numpy()
    bias.assign(before + 0.2)
    try:
        rows = {row.layer: row for row in compare_layers(qat_model, content, _pixels(2))}
    finally:
        bias.assign(before)
    guilty = [name for name, row in rows.items() if row.alone > 0.02]
    assert guilty == ["quant_block1_expand_relu"]


def test_a_file_of_another_network_is_refused(converted, float_network):
    _, content = converted
    x = keras.Input((16, 16, 3))
    other, _, _ = scheme.quantize(keras.Model(x, layers.Conv2D(2, 1, name="other")(x)))
    for entry in activation_ranges(other):
        if entry.fixed is None:
            entry.assign(-1.0, 1.0)
    with pytest.raises(UserError, match="not converted from this model"):
        compare_layers(other, content, _pixels(1))


def test_an_unset_range_is_refused(unset_model):
    with pytest.raises(UserError, match="was never set; calibrate first"):
        IntegerModel(unset_model)


def test_images_of_another_size_are_refused(converted):
    qat_model, content = converted
    names = [layer.name for layer in qat_model.layers]
    with pytest.raises(UserError, match="parity needs uint8 or int8 images"):
        file_tensors(content, np.zeros((1, 8, 8, 3), np.uint8), names, "xnnpack")


def test_names_of_fused_tensors():
    names = ["quant_a_conv", "quant_a_relu"]
    assert layer_of_tensor("net/quant_a_relu/Relu6;net/quant_a_conv/BiasAdd", names) == names[1]
    assert layer_of_tensor("net/elsewhere", names) is None


def test_grids_are_those_of_the_file(converted):
    qat_model, content = converted
    graph = flatbuffer.parse(content).main
    names = [layer.name for layer in qat_model.layers]
    found = {
        layer_of_tensor(t.name, names): t
        for op in graph.operators
        for t in [graph.tensors[op.outputs[0]]]
        if t.dtype == "int8"
    }
    checked = 0
    for entry in activation_ranges(qat_model):
        if entry.layer.name in found and entry.fixed is None:
            tensor, grid = found[entry.layer.name], grid_of(entry)
            assert np.float32(tensor.scales[0]) == grid.scale
            assert tensor.zero_points[0] == -128 - grid.low
            checked += 1
    assert checked >= 10


def test_the_simulation_is_in_integers_where_every_layer_has_an_integer_form(converted):
    qat_model, content = converted
    simulated = simulation(qat_model)
    pixels = _pixels(3)
    inputs = ((pixels - 128.0) / 128).astype(np.float32)
    names = [layer.name for layer in qat_model.layers]
    logits = file_tensors(content, pixels, names, "xnnpack")["quant_logits"]
    scale = grid_of(activation_ranges(qat_model)[-1]).scale
    np.testing.assert_array_equal(simulated(inputs, training=False).numpy().ravel(), (logits * scale).ravel())


def test_a_sum_before_a_relu_has_no_integer_form():
    x = keras.Input((4, 4, 3))
    a, b = (layers.Conv2D(2, 1)(x) for _ in range(2))
    model = keras.Model(x, layers.ReLU(6.0)(layers.Add(name="sum")([a, b])))
    qat_model, folded, _ = scheme.quantize(model)
    ranges.calibrate(folded, qat_model, [np.random.default_rng(0).uniform(-1, 1, (4, 4, 4, 3)).astype("f4")])
    with pytest.raises(UserError, match="has no integer form here"):
        IntegerModel(qat_model)
    simulation(qat_model)  # falls back on the fake-quant graph


def test_elsewhere_it_is_the_fake_quant_graph_itself():
    x = keras.Input((4, 4, 3))
    model = keras.Model(x, layers.AveragePooling2D(name="mean")(layers.Conv2D(2, 1)(x)))
    qat_model, folded, _ = scheme.quantize(model)
    ranges.calibrate(folded, qat_model, [np.ones((1, 4, 4, 3), np.float32) / 2])
    with pytest.raises(UserError, match="has no integer form here"):
        IntegerModel(qat_model)
    assert simulation(qat_model) is qat_model
