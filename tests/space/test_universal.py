"""MobileNetV4's operations, its small network counted independently, and the space around it."""

import pytest

from nas_tf.base.errors import UserError
from nas_tf.latency.keys import parse_key
from nas_tf.space.architecture import Architecture, from_json, from_string
from nas_tf.space.candidates import parse_operation
from nas_tf.space.layer_spec import BlockSpec, ClassifierSpec, FeaturesSpec
from nas_tf.space.operations.universal_bottleneck import UniversalBottleneck
from nas_tf.space.operations.zero import ZERO
from nas_tf.space.published import MOBILENET_V4_CONV_SMALL
from nas_tf.space.search_space import UNIVERSAL_SPACE

# As the TensorFlow Model Garden lists it: convolutions (kernel, stride, filters), and universal
# bottlenecks (start, middle, stride, filters, expansion).
BEFORE = [(3, 2, 32), (3, 2, 32), (1, 1, 32), (3, 2, 96), (1, 1, 64)]
BOTTLENECKS = [
    (5, 5, 2, 96, 3),
    *[(0, 3, 1, 96, 2)] * 4,
    (3, 0, 1, 96, 4),
    (3, 3, 2, 128, 6),
    (5, 5, 1, 128, 4),
    (0, 5, 1, 128, 4),
    (0, 5, 1, 128, 3),
    *[(0, 3, 1, 128, 4)] * 2,
]


def by_hand(resolution: int, num_classes: int) -> tuple[int, int]:
    """(parameters, multiply-adds) of MobileNetV4-Conv-S, one convolution after the other."""
    size, width, params, macs = resolution, 3, 0, 0

    def convolve(kernel, stride, filters, depthwise=False):
        nonlocal size, width, params, macs
        size = -(-size // stride)
        weights = kernel**2 * filters * (1 if depthwise else width)
        params, macs, width = params + weights + 2 * filters, macs + weights * size**2, filters

    for kernel, stride, filters in BEFORE:
        convolve(kernel, stride, filters)
    for start, middle, stride, filters, expansion in BOTTLENECKS:
        hidden = expansion * width
        if start:
            convolve(start, 1 if middle else stride, width, depthwise=True)
        convolve(1, 1, hidden)
        if middle:
            convolve(middle, stride, hidden, depthwise=True)
        convolve(1, 1, filters)
    convolve(1, 1, 960)
    size = 1  # pooled
    convolve(1, 1, 1280)
    return params + (width + 1) * num_classes, macs + width * num_classes


@pytest.mark.parametrize("resolution,num_classes", [(224, 1000), (160, 1000), (192, 10)])
def test_mobilenet_v4_conv_small_has_the_published_layers(resolution, num_classes):
    params, macs = by_hand(resolution, num_classes)
    assert MOBILENET_V4_CONV_SMALL.params(num_classes) == params
    assert MOBILENET_V4_CONV_SMALL.macs(resolution, num_classes) == macs


def test_it_is_one_network_of_the_universal_space():
    operations = iter(block.operation for block in MOBILENET_V4_CONV_SMALL.blocks[1:])
    left = {64: 1, 96: 6, 128: 6}
    taken = []
    for (_, width, _), offered in zip(
        UNIVERSAL_SPACE.block_shapes(), UNIVERSAL_SPACE.block_candidates(), strict=True
    ):
        left[width] -= 1
        taken.append(next(operations) if left[width] >= 0 else ZERO)
        assert taken[-1] in offered
    found = UNIVERSAL_SPACE.architecture(tuple(taken))
    costs = [(layer.key, layer.params) for layer in found.layers(160, 1000) if layer.key]
    assert costs == [(layer.key, layer.params) for layer in MOBILENET_V4_CONV_SMALL.layers(160, 1000)]
    assert found.activation == MOBILENET_V4_CONV_SMALL.activation == "relu"


def test_the_space_offers_every_form_with_expansions_from_2_to_6():
    offered = set().union(*UNIVERSAL_SPACE.block_candidates())
    bottlenecks = [o for o in offered if isinstance(o, UniversalBottleneck)]
    assert {(o.start, o.middle) for o in bottlenecks} == {(s, m) for s in (0, 3, 5) for m in (0, 3, 5)}
    assert {o.expansion for o in bottlenecks} == {2, 3, 4, 6}
    early, late = (UNIVERSAL_SPACE.block_candidates()[index] for index in (1, -1))
    assert any(o.name.startswith("F") for o in early) and not any(o.name.startswith("F") for o in late)


def test_costs_by_hand():
    spec = BlockSpec(8, 16, 24, 2, UniversalBottleneck(4, 5, 3))
    # 5×5 depthwise on 8×8, 1×1 16 → 64, 3×3 depthwise with stride 2, 1×1 64 → 24.
    assert spec.macs == 64 * 25 * 16 + 64 * 16 * 64 + 16 * 9 * 64 + 16 * 64 * 24
    assert spec.params == 25 * 16 + 32 + 16 * 64 + 128 + 9 * 64 + 128 + 64 * 24 + 48
    # Alone, the start has the stride.
    alone = BlockSpec(8, 16, 24, 2, UniversalBottleneck(4, 5, 0))
    assert alone.macs == 16 * 25 * 16 + 16 * 16 * 64 + 16 * 64 * 24


@pytest.mark.parametrize("name", ["U4_35", "U2_00", "U6_03", "U3_50"])
def test_names_and_keys_are_read_back(name):
    operation = parse_operation(name)
    assert operation.name == name
    spec = BlockSpec(8, 16, 16, 1, operation)
    assert parse_key(spec.key) == spec


@pytest.mark.parametrize("spec", [FeaturesSpec(7, 960, 1280), ClassifierSpec(1, 1280, 10, pools=False)])
def test_keys_behind_the_pooling_are_read_back(spec):
    assert parse_key(spec.key) == spec and spec.output_size == 1


@pytest.mark.parametrize(
    "text,why",
    [
        ("s8x2 U2_00c16x2 h24", "without a depthwise convolution nothing can have its stride of 2"),
        ("s8x2 C2_3c8 h24", "its output is not linear"),
        ("s8x2 Zc16 h24", "only identity-shaped blocks can be skipped"),
        ("s8x2 U2_09c16 h24", "Unknown operation 'U2_09'"),
        ("s8x2 3_3c16 h24 f0", "is not an architecture string"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_reason(text, why):
    with pytest.raises(UserError, match=why):
        from_string(text)


def test_a_key_that_no_block_can_have_is_refused():
    key = BlockSpec(8, 16, 16, 1, UniversalBottleneck(2, 0, 0)).key
    with pytest.raises(UserError, match="not the key of a layer"):
        parse_key(key.replace("output:8x8", "output:4x4").replace("stride:1-idskip:1", "stride:2-idskip:0"))


def test_activation_and_features_are_kept():
    network = MOBILENET_V4_CONV_SMALL
    assert from_string(network.to_string()) == network == from_json(network.to_json())
    assert network.to_string().endswith(" h960 f1280 relu")
    # As before for networks that have neither.
    plain = from_string("s8x2 1_3c8 h24")
    assert {"activation", "features_width"}.isdisjoint(plain.to_json())
    wide = network.scaled(2.0)
    assert (wide.head_width, wide.features_width) == (1920, 2560)
    assert network.scaled(0.5).features_width == 1280
    with pytest.raises(UserError, match="Unknown activation 'swish'; allowed: relu6, relu"):
        Architecture(8, 2, plain.blocks, 24, activation="swish")
