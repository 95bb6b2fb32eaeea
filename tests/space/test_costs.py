"""Parameter and multiply-add counts against published figures and against Keras."""

import pytest

from nas_tf.space.architecture import Architecture, Block, scale_head, scale_width
from nas_tf.space.layer_spec import BlockSpec
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck
from nas_tf.space.operations.zero import ZERO
from nas_tf.space.published import PROXYLESS_MOBILE, PUBLISHED

# name: parameters at 1000 classes, millions of multiply-adds at 224 (authors' figures).
GOLDEN = {
    "mobilenet_v2": (3_504_872, 300.8),
    # Published as 3.8 million and 0.2 billion (Qin et al. 2024, Table 5); the numbers are those of
    # `test_universal.by_hand`.
    "mobilenet_v4_conv_small": (3_774_024, 186.0),
    "proxyless_mobile": (4_080_512, 320.4),
    "proxyless_mobile_14": (6_857_568, 580.9),
    "proxyless_gpu": (7_119_848, 465.3),
    "proxyless_cpu": (4_361_648, 439.2),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name):
    params, macs = GOLDEN[name]
    assert PUBLISHED[name].params(1000) == params
    assert PUBLISHED[name].macs(224, 1000) / 1e6 == pytest.approx(macs, abs=0.05)


def test_counts_at_other_resolution_and_width():
    assert PROXYLESS_MOBILE.macs(160, 1000) / 1e6 == pytest.approx(164.1, abs=0.05)
    half = PROXYLESS_MOBILE.scaled(0.5)
    assert half.macs(224, 1000) / 1e6 == pytest.approx(103.6, abs=0.05)
    assert half.head_width == 1280


def test_a_block_by_hand():
    # 3×: 8→24 expand, 5×5 depthwise stride 2, 24→16 project, on 7×7 → 4×4.
    spec = BlockSpec(7, 8, 16, 2, InvertedBottleneck(3, 5))
    assert spec.output_size == 4
    assert spec.params == (8 * 24 + 48) + (25 * 24 + 48) + (24 * 16 + 32)
    assert spec.macs == 49 * 8 * 24 + 16 * 25 * 24 + 16 * 24 * 16
    assert spec.key == "expanded_conv-input:7x7x8-output:4x4x16-expand:3-kernel:5-stride:2-idskip:0"


def test_zero_costs_nothing():
    spec = BlockSpec(7, 8, 8, 1, ZERO)
    assert (spec.params, spec.macs, spec.key) == (0, 0, None)


def test_parameters_do_not_depend_on_the_resolution():
    layers = PROXYLESS_MOBILE.layers(224, 1000)
    assert sum(layer.params for layer in layers) == PROXYLESS_MOBILE.params(1000)


# MobileNetV2's rule: nearest multiple of 8, at least 8, never below 90 % of the product.
@pytest.mark.parametrize(
    "width,multiplier,expected",
    [(32, 0.5, 16), (24, 0.5, 16), (16, 0.3, 8), (24, 0.35, 8), (96, 0.75, 72), (40, 0.3, 16)],
)
def test_width_rounding(width, multiplier, expected):
    assert scale_width(width, multiplier) == expected
    assert expected >= 0.9 * width * multiplier or expected == 8


def test_head_is_scaled_only_upwards():
    assert scale_head(1280, 0.5) == 1280
    assert scale_head(1280, 1.4) == 1792


@pytest.mark.parametrize(
    "name", ["mobilenet_v2", "mobilenet_v4_conv_small", "proxyless_mobile", "proxyless_gpu"]
)
def test_keras_network_has_the_counted_parameters(name):
    from nas_tf.network.build import build_network, count_trainable

    model = build_network(PUBLISHED[name], 64, 1000)
    assert count_trainable(model) == GOLDEN[name][0]
    assert model.output_shape == (None, 1000)


def test_symmetric_padding_keeps_the_shape():
    from nas_tf.network.build import build_network

    blocks = (Block(InvertedBottleneck(1, 3), 8), Block(InvertedBottleneck(3, 7), 16, 2))
    for size in (32, 33):
        shapes = [
            build_network(Architecture(8, 2, blocks, 16, padding=p), size, 4)
            .get_layer("block1_project_bn")
            .output_shape
            for p in ("same", "symmetric")
        ]
        assert shapes[0] == shapes[1]
