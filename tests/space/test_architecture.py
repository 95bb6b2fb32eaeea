"""Architectures survive their file forms, and broken ones are refused with a reason."""

import json

import pytest

from nas_tf.base.errors import UserError
from nas_tf.space.architecture import Architecture, Block, from_json, from_string, in_words
from nas_tf.space.candidates import parse_operation
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck
from nas_tf.space.operations.zero import ZERO
from nas_tf.space.published import PROXYLESS_GPU, PROXYLESS_MOBILE, PUBLISHED, read_architecture
from nas_tf.space.search_space import FULL, SPACES, TINY, find_space


@pytest.mark.parametrize("name", PUBLISHED)
def test_round_trips(name, tmp_path):
    network = PUBLISHED[name]
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(network.to_json()))
    assert read_architecture(str(path)) == network
    assert from_string(network.to_string()) == network
    assert read_architecture(name) is network


@pytest.mark.parametrize("name", ["mobile", "mobile_14", "gpu", "cpu"])
def test_published_networks_equal_their_configuration_files(name, shared_data):
    config = json.loads((shared_data / f"proxylessnas/proxyless_{name}.config").read_text())
    network = PUBLISHED[f"proxyless_{name}"]
    blocks, width = [], config["first_conv"]["out_channels"]
    for block in config["blocks"]:
        conv = block["mobile_inverted_conv"]
        if conv["name"] == "ZeroLayer":
            blocks.append(Block(ZERO, width))
            continue
        width = conv["out_channels"]
        operation = InvertedBottleneck(conv["expand_ratio"], conv["kernel_size"])
        blocks.append(Block(operation, width, conv["stride"]))
    # Shortcuts are decided when an architecture is made.
    made = Architecture(network.stem_width, 2, tuple(blocks), network.head_width)
    assert network.blocks == made.blocks
    assert network.stem_width == config["first_conv"]["out_channels"]
    assert network.head_width == config["feature_mix_layer"]["out_channels"]


def test_in_words_reads_like_the_paper():
    assert in_words(PROXYLESS_GPU).endswith("| 6_7 6_7 6_7 6_5 | 6_7")
    assert in_words(PROXYLESS_MOBILE).startswith("1_3 | 3_5 3_3 Z Z | 3_7")


@pytest.mark.parametrize(
    "change,message",
    [
        (lambda c: c.update(format="other/9"), "format 'other/9'"),
        (lambda c: c.pop("head_width"), "not an architecture file"),
        (lambda c: c.update(head_width="wide"), "not an architecture file"),
        (lambda c: c.update(head_width=-8), "head width must be 1 to"),
        (lambda c: c.update(blocks=[]), "1 to 1024 blocks, not 0"),
        (lambda c: c.update(padding="reflect"), "Unknown padding 'reflect'"),
        (lambda c: c["blocks"][1].update(operation="9_9"), "Unknown operation '9_9'"),
        (
            lambda c: c["blocks"][1].update(operation="Z"),
            "Block 1 .* cannot run the operation 'Z': only identity-shaped",
        ),
        (lambda c: c["blocks"][1].update(stride=3), "stride must be 1 or 2, not 3"),
    ],
)
def test_broken_files_are_refused(change, message):
    content = PROXYLESS_MOBILE.to_json()
    change(content)
    with pytest.raises(UserError, match=message):
        from_json(content)


@pytest.mark.parametrize("text", ["", "s32x2", "s32x2 1_3c16", "s32x2 nonsense h1280", "x y z"])
def test_broken_strings_are_refused(text):
    with pytest.raises(UserError, match="not an architecture string"):
        from_string(text)


def test_unknown_name_lists_the_published_ones():
    with pytest.raises(UserError, match="'resnet50' is neither .* proxyless_mobile"):
        read_architecture("resnet50")


def test_operation_names():
    assert parse_operation("6_5") == InvertedBottleneck(6, 5)
    assert parse_operation("Z") is ZERO


def test_full_space_is_the_paper_s():
    # 6 choices for the 6 blocks that change the shape, 7 for the other 15.
    assert FULL.size() == 6**6 * 7**15
    choices = FULL.choices(224)
    assert len(choices) == 21
    assert [len(c.specs) for c in choices] == [6, 7, 7, 7] * 3 + [6, 7, 7, 7] * 2 + [6]
    assert [c.specs[0].input_size for c in choices[::4]] == [112, 56, 28, 14, 14, 7]


def test_space_builds_the_published_shape():
    operations = tuple(b.operation for b in PROXYLESS_MOBILE.blocks[1:])
    built = FULL.architecture(operations)
    # The published network widened stage 1 from 24 to 32 after the search.
    assert [b.width for b in built.blocks[1:5]] == [24] * 4
    assert built.blocks[5:] == PROXYLESS_MOBILE.blocks[5:]


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("multiplier", [0.5, 1.0, 1.4])
def test_every_network_of_a_space_is_priced_by_its_keys(name, multiplier):
    space = find_space(name).scaled(multiplier)
    keys = space.latency_specs(64, 10)
    for pick in (0, -1):
        operations = tuple(choice.operations[pick] for choice in space.choices(64))
        assert set(space.architecture(operations).latency_keys(64, 10)) <= keys.keys()


def test_wrong_number_of_operations_is_refused():
    with pytest.raises(UserError, match="'tiny' has 5 blocks, not 1"):
        TINY.architecture((ZERO,))


def test_unknown_space_is_refused():
    with pytest.raises(
        UserError, match="Unknown search space 'huge'; allowed: full, small, small_universal, tiny"
    ):
        find_space("huge")


def test_architecture_must_have_blocks():
    with pytest.raises(UserError, match="blocks, not 0"):
        Architecture(8, 2, (), 64)
