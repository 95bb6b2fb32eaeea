"""Published architectures by name, and how `--architecture` is read."""

import os

from nas_tf.base import files
from nas_tf.base.errors import UserError, quoted
from nas_tf.space.architecture import Architecture, Block, from_json, from_string
from nas_tf.space.candidates import parse_operation
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck

# Strides of the six stages of the ProxylessNAS and MobileNetV2 families after the first block.
_STRIDES = (2, 2, 2, 1, 2, 1)


def _network(name: str, widths: tuple[int, ...], operations: str) -> Architecture:
    """Widths: stem, first block, six stages, head. Operations: stages separated by `|`."""
    stem, first, *stages, head = widths
    # MobileNetV2's first block, expansion 1, which all of these networks keep.
    blocks = [Block(InvertedBottleneck(1, 3), first)]
    for width, stride, names in zip(stages, _STRIDES, operations.split("|"), strict=True):
        for index, operation in enumerate(names.split()):
            blocks.append(Block(parse_operation(operation), width, stride if index == 0 else 1))
    return Architecture(stem, 2, tuple(blocks), head, name)


# Sandler et al. 2018, Table 2.
MOBILENET_V2 = _network(
    "mobilenet_v2",
    (32, 16, 24, 32, 64, 96, 160, 320, 1280),
    "6_3 6_3 | 6_3 6_3 6_3 | 6_3 6_3 6_3 6_3 | 6_3 6_3 6_3 | 6_3 6_3 6_3 | 6_3",
)

# Cai, Zhu and Han 2019, Figure 4, and the configurations published with it.
_MOBILE = "3_5 3_3 Z Z | 3_7 3_3 3_5 3_5 | 6_7 3_5 3_5 3_5 | 6_5 3_5 3_5 3_5 | 6_7 6_7 3_7 3_7 | 6_7"
PROXYLESS_MOBILE = _network("proxyless_mobile", (32, 16, 32, 40, 80, 96, 192, 320, 1280), _MOBILE)
PROXYLESS_MOBILE_14 = _network("proxyless_mobile_14", (48, 24, 40, 56, 112, 136, 256, 448, 1792), _MOBILE)
PROXYLESS_GPU = _network(
    "proxyless_gpu",
    (40, 24, 32, 56, 112, 128, 256, 432, 1728),
    "3_5 Z Z Z | 3_7 Z Z 3_3 | 6_7 Z Z 3_5 | 6_5 Z 3_3 3_5 | 6_7 6_7 6_7 6_5 | 6_7",
)
PROXYLESS_CPU = _network(
    "proxyless_cpu",
    (40, 24, 32, 48, 88, 104, 216, 360, 1432),
    "6_3 3_3 3_3 3_3 | 6_3 3_3 3_3 3_5 | 6_3 Z Z 3_3 | 6_5 3_3 3_3 3_3 | 6_5 3_5 3_5 3_3 | 6_5",
)

# Qin et al. 2024, Table 11, and `MNV4ConvSmall_BLOCK_SPECS` of the TensorFlow Model Garden.
_CONV_SMALL = (
    (32, "C1_3"),
    (64, "C3_3"),
    (96, "U3_55 U2_03 U2_03 U2_03 U2_03 U4_30"),
    (128, "U6_33 U4_55 U4_05 U3_05 U4_03 U4_03"),
)
MOBILENET_V4_CONV_SMALL = Architecture(
    stem_width=32,
    stem_stride=2,
    blocks=tuple(
        Block(parse_operation(operation), width, 2 if index == 0 else 1)
        for width, operations in _CONV_SMALL
        for index, operation in enumerate(operations.split())
    ),
    head_width=960,
    name="mobilenet_v4_conv_small",
    features_width=1280,
    activation="relu",
)

PUBLISHED = {
    network.name: network
    for network in (
        MOBILENET_V2,
        MOBILENET_V4_CONV_SMALL,
        PROXYLESS_MOBILE,
        PROXYLESS_MOBILE_14,
        PROXYLESS_GPU,
        PROXYLESS_CPU,
    )
}


def read_architecture(value: str, flag: str = "--architecture") -> Architecture:
    """The architecture of a published name, a JSON file, or a short string; `flag` is for messages."""
    if value in PUBLISHED:
        return PUBLISHED[value]
    if os.path.isfile(value):
        return from_json(files.read_json(value, "architecture"), f"architecture {value!r}")
    if " " in value:
        return from_string(value)
    raise UserError(
        f"{flag}={quoted(value, 200)} is neither a file nor a published name; published: "
        f"{', '.join(PUBLISHED)}."
    )
