"""Published configurations become the published architectures; other parts are refused by name."""

import json

import pytest

from nas_tf.base.errors import UserError
from nas_tf.imported.proxyless_config import read_config
from nas_tf.space.published import PUBLISHED


def convolution(inputs, outputs, kernel, stride, **changes):
    return {
        "name": "ConvLayer",
        "kernel_size": kernel,
        "stride": stride,
        "dilation": 1,
        "groups": 1,
        "bias": False,
        "in_channels": inputs,
        "out_channels": outputs,
        "use_bn": True,
        "act_func": "relu6",
        "ops_order": "weight_bn_act",
        **changes,
    }


def block(inputs, outputs, kernel, stride, expansion, **changes):
    identity = {"name": "IdentityLayer"} if inputs == outputs and stride == 1 else None
    return {
        "mobile_inverted_conv": {
            "name": "MBInvertedConvLayer",
            "in_channels": inputs,
            "out_channels": outputs,
            "kernel_size": kernel,
            "stride": stride,
            "expand_ratio": expansion,
            **changes,
        },
        "shortcut": identity,
    }


def small_config(**changes):
    """A whole network of three blocks, one of them skipped."""
    return {
        "name": "ProxylessNASNets",
        "bn": {"momentum": 0.1, "eps": 1e-5},
        "first_conv": convolution(3, 8, 3, 2),
        "resolution": 32,
        "blocks": [
            block(8, 8, 3, 1, 1),
            {
                "mobile_inverted_conv": {"name": "ZeroLayer", "stride": 1},
                "shortcut": {"name": "IdentityLayer"},
            },
            block(8, 16, 5, 2, 3),
        ],
        "feature_mix_layer": convolution(16, 24, 1, 1),
        "classifier": {
            "name": "LinearLayer",
            "in_features": 24,
            "out_features": 5,
            "bias": True,
            "use_bn": False,
            "act_func": None,
        },
        **changes,
    }


def read(tmp_path, content):
    path = tmp_path / "net.json"
    path.write_text(json.dumps(content))
    return read_config(str(path))


def test_small_config(tmp_path):
    network = read(tmp_path, small_config())
    assert network.architecture.to_string() == "s8x2 1_3c8 Zc8 3_5c16x2 h24 symmetric"
    assert (network.num_classes, network.bn_epsilon, network.resolution) == (5, 1e-5, 32)


def test_a_block_of_equal_widths_without_a_shortcut(tmp_path):
    blocks = [block(8, 8, 3, 1, 1), block(8, 8, 5, 1, 3) | {"shortcut": None}, block(8, 16, 5, 2, 3)]
    architecture = read(tmp_path, small_config(blocks=blocks)).architecture
    assert architecture.to_string() == "s8x2 1_3c8 3_5c8_noskip 3_5c16x2 h24 symmetric"
    assert [b.shortcut for b in architecture.blocks] == [True, False, False]


@pytest.mark.parametrize("name", ["mobile", "mobile_14", "gpu", "cpu"])
def test_published_configurations(shared_data, name):
    network = read_config(str(shared_data / "proxylessnas" / f"proxyless_{name}.config"))
    published = PUBLISHED[f"proxyless_{name}"]
    assert network.architecture.blocks == published.blocks
    assert network.architecture.params(1000) == published.params(1000)
    assert network.architecture.macs(224, 1000) == published.macs(224, 1000)
    assert network.architecture.padding == "symmetric" and network.bn_epsilon == 1e-3


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"name": "ResNet"}, "describes a 'ResNet', not a 'ProxylessNASNets'"),
        ({"first_conv": convolution(3, 8, 5, 2)}, "first_conv .* kernel_size=5; only 3"),
        ({"first_conv": convolution(3, 8, 3, 2, act_func="swish")}, "act_func='swish'; only 'relu6'"),
        ({"blocks": [block(8, 8, 3, 1, 1, use_se=True)]}, "block 0 .*use_se=True"),
        ({"blocks": [block(8, 8, 3, 1, 2.5)]}, "block 0 .*expansion 2.5"),
        ({"blocks": [block(8, 8, 3, 1, 2, mid_channels=17)]}, "block 0 .*17 hidden"),
        ({"blocks": [block(8, 16, 3, 1, 2) | {"shortcut": {"name": "IdentityLayer"}}]}, "shortcut"),
        ({"blocks": [block(9, 16, 3, 1, 2)]}, "block 0 .*in_channels=9; only 8"),
        ({"blocks": []}, "has no blocks"),
        ({"blocks": 3}, "is not a ProxylessNAS network"),
        ({"bn": {"ws_eps": 1e-5}}, "weight standardization"),
        ({"feature_mix_layer": convolution(99, 24, 1, 1)}, "in_channels=99; only 16"),
        ({"resolution": -3}, "not a positive whole number"),
    ],
)
def test_what_cannot_be_built_is_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, small_config(**changes))


def test_a_value_of_20000_characters_is_not_repeated(tmp_path):
    changed = small_config(feature_mix_layer=convolution(16, 24, 1, 1) | {"out_channels": "y" * 20_000})
    with pytest.raises(UserError, match="in_features=24; only 'yyy") as refused:
        read(tmp_path, changed)
    assert len(str(refused.value)) < 300 + len(str(tmp_path))


def test_damaged_files(tmp_path):
    for content in ("[]", "7", '{"name": "ProxylessNASNets"}', "{"):
        (tmp_path / "net.json").write_text(content)
        with pytest.raises(UserError, match="configuration"):
            read_config(str(tmp_path / "net.json"))
