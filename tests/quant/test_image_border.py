"""Images padded with another network's zero: exact in float, on the grid and clean in int8."""

import dataclasses

import numpy as np
import pytest

IMAGENET_ZERO = tuple(255 * mean / 128 - 1 for mean in (0.485, 0.456, 0.406))


def quantized(border):
    """(float model, fake-quantized model, changes) of a small network with this border."""
    from nas_tf.network.build import build_network
    from nas_tf.space.architecture import from_string
    from quant import ranges, scheme

    architecture = dataclasses.replace(from_string("s8x2 1_3c8 h8 symmetric"), image_border=border)
    model = build_network(architecture, 16, 3)
    qat_model, rewritten, changes = scheme.quantize(model)
    x = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.float32)
    ranges.calibrate(rewritten, qat_model, [(x - 128) / 128])
    return model, qat_model, changes


def test_a_border_is_what_it_says():
    import tensorflow as tf

    from nas_tf.network.layers import BorderPadding2D

    image = np.random.default_rng(0).normal(size=(2, 3, 4, 3)).astype(np.float32)
    padded = BorderPadding2D(2, IMAGENET_ZERO)(tf.constant(image)).numpy()
    expected = np.stack(
        [np.pad(image[..., c], ((0, 0), (2, 2), (2, 2)), constant_values=IMAGENET_ZERO[c]) for c in range(3)],
        axis=-1,
    )
    np.testing.assert_array_equal(padded, expected.astype(np.float32))


def test_half_a_step_becomes_plain_padding():
    _, qat_model, changes = quantized((-1 / 256,) * 3)
    assert [change.layer for change in changes] == ["stem_pad"]
    assert "BorderPadding2D" not in {
        type(getattr(layer, "layer", layer)).__name__ for layer in qat_model.layers
    }


def test_another_border_goes_to_the_nearest_pixel_value():
    from export.converter import convert_keras
    from quant import flatbuffer
    from quant.audit_tflite import audit_flatbuffer

    model, qat_model, _ = quantized(IMAGENET_ZERO)
    flat = flatbuffer.parse(convert_keras(qat_model, "uint8", "uint8", quantized=True))
    audit = audit_flatbuffer(flat, "model")
    assert audit.missing == audit.interior_quantize_ops == audit.float_tensors == ()
    joins = [o for o in flat.main.operators if o.name == "CONCATENATION"]
    assert len(joins) == 2
    values = {
        tuple(pixel)
        for join in joins
        for i in join.inputs
        if flat.main.tensors[i].values is not None
        for pixel in flat.main.tensors[i].values.reshape(-1, 3).tolist()
    }
    # 255 · mean − 128, to the nearest whole number
    assert values == {(-4, -12, -24)}
    x = (np.random.default_rng(1).integers(0, 256, (4, 16, 16, 3)).astype(np.float32) - 128) / 128
    difference = np.abs(qat_model(x).numpy() - model(x).numpy()).max()
    assert difference < 0.05 * np.abs(model(x).numpy()).max() + 1e-3


@pytest.mark.parametrize("border", [(0.0, 0.0), (5.0, 0.0, 0.0)])
def test_an_impossible_border_is_refused(border):
    from nas_tf.base.errors import UserError
    from nas_tf.space.architecture import from_string

    with pytest.raises(UserError, match="image border must be 3 numbers"):
        dataclasses.replace(from_string("s8x2 1_3c8 h8"), image_border=border)


def test_json_keeps_the_border():
    from nas_tf.space.architecture import from_json, from_string

    plain = from_string("s8x2 1_3c8 h8 symmetric")
    bordered = dataclasses.replace(plain, image_border=IMAGENET_ZERO)
    assert from_json(bordered.to_json()) == bordered != plain
    assert "image_border" not in plain.to_json()
