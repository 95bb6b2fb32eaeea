"""A shortcut is a part of a block: written in files and strings, decided by shape where nothing is said."""

import json

import pytest

from nas_tf.base.errors import UserError
from nas_tf.network.build import build_network
from nas_tf.space.architecture import Architecture, Block, from_json, from_string
from nas_tf.space.layer_spec import BlockSpec
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck
from nas_tf.space.operations.zero import ZERO

TEXT = "s8x2 1_3c8 3_3c8_noskip 3_3c16x2 6_5c16 h24"


def test_the_string_and_the_file_say_it():
    network = from_string(TEXT)
    assert [block.shortcut for block in network.blocks] == [True, False, False, True]
    assert network.to_string() == TEXT
    content = json.loads(json.dumps(network.to_json()))
    assert [block["shortcut"] for block in content["blocks"]] == [True, False, False, True]
    assert from_json(content) == network != from_string(TEXT.replace("_noskip", ""))


def test_files_from_before_mean_what_they_meant():
    content = from_string(TEXT.replace("_noskip", "")).to_json()
    for block in content["blocks"]:
        del block["shortcut"]
    assert [block.shortcut for block in from_json(content).blocks] == [True, True, False, True]


def test_costs_do_not_depend_on_it_but_keys_do():
    network, other = from_string(TEXT), from_string(TEXT.replace("_noskip", ""))
    assert network.params(10) == other.params(10) and network.macs(32, 10) == other.macs(32, 10)
    differing = set(network.latency_keys(32, 10)) ^ set(other.latency_keys(32, 10))
    assert {key.rsplit("-", 1)[1] for key in differing} == {"idskip:0", "idskip:1"}


def test_a_block_without_one_does_not_add():
    names = [layer.name for layer in build_network(from_string(TEXT), 32, 10).layers]
    assert [name for name in names if name.endswith("_add")] == ["block0_add", "block3_add"]


def test_scaling_decides_again_what_the_shape_had_decided():
    # 16 and 24 channels both become 16 at 0.6: a shortcut that did not fit, fits now.
    scaled = from_string("s16 3_3c16 3_3c24 3_3c24_noskip h24").scaled(0.6)
    assert [block.width for block in scaled.blocks] == [16, 16, 16]
    assert [block.shortcut for block in scaled.blocks] == [True, True, False]


@pytest.mark.parametrize(
    "block,message",
    [
        (
            Block(InvertedBottleneck(3, 3), 16, 1, True),
            r"Block 0 has a shortcut but changes the shape \(8 to 16",
        ),
        (Block(InvertedBottleneck(3, 3), 8, 2, True), r"has a shortcut but .*stride 2"),
        (Block(ZERO, 8, 1, False), "ZeroOp without a shortcut"),
    ],
)
def test_shortcuts_that_cannot_be_are_refused(block, message):
    with pytest.raises(UserError, match=message):
        Architecture(8, 2, (block,), 16)


def test_a_file_with_another_value_is_refused():
    content = from_string(TEXT).to_json()
    content["blocks"][0]["shortcut"] = "yes"
    with pytest.raises(UserError, match="'yes' is not true or false"):
        from_json(content)


def test_a_layer_with_a_shortcut_that_does_not_fit_is_refused():
    with pytest.raises(
        UserError, match="from 8 to 16 channels with stride 1 cannot have an identity shortcut"
    ):
        BlockSpec(8, 8, 16, 1, InvertedBottleneck(3, 3), True)
