"""The fused bottleneck: its costs by hand, its names and keys, and its layers."""

import pytest

from nas_tf.base.errors import UserError
from nas_tf.latency.keys import parse_key
from nas_tf.network.build import build_network, count_trainable
from nas_tf.space.architecture import from_string
from nas_tf.space.candidates import parse_operation
from nas_tf.space.layer_spec import BlockSpec
from nas_tf.space.operations.fused_bottleneck import FusedBottleneck


def test_costs_by_hand():
    spec = BlockSpec(8, 16, 24, 2, FusedBottleneck(4, 3))
    # 3×3 convolution 16 → 64 at 4×4 outputs, 1×1 convolution 64 → 24; scales and shifts.
    assert spec.macs == 16 * (9 * 16 * 64) + 16 * (64 * 24)
    assert spec.params == 9 * 16 * 64 + 2 * 64 + 64 * 24 + 2 * 24
    assert spec.output_size == 4 and not spec.has_shortcut


def test_name_and_key_are_read_back():
    operation = FusedBottleneck(4, 3)
    assert operation.name == "F4_3" and parse_operation("F4_3") == operation
    spec = BlockSpec(8, 16, 16, 1, operation)
    assert spec.key == "fused_conv-input:8x8x16-output:8x8x16-expand:4-kernel:3-stride:1-idskip:1"
    assert parse_key(spec.key) == spec
    with pytest.raises(UserError, match="'Fexpansion_kernel'"):
        parse_operation("F4_2")


def test_the_network_has_its_layers():
    network = from_string("s8x2 1_3c8 F4_3c16x2 F2_5c16 h32")
    assert from_string(network.to_string()) == network
    model = build_network(network, 32, 10)
    assert count_trainable(model) == network.params(10)
    convolution = model.get_layer("block1_expand_conv")
    assert convolution.kernel_size == (3, 3) and convolution.strides == (2, 2) and convolution.filters == 32
    assert model.get_layer("block2_add").output.shape[1:] == (8, 8, 16)
