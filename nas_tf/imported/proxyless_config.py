"""Published ProxylessNAS network configurations (`.json`, `.config`) as architectures."""

import dataclasses
from typing import Any

from nas_tf.base import files
from nas_tf.base.errors import UserError, quoted, require
from nas_tf.space.architecture import Architecture, Block
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck
from nas_tf.space.operations.operation import Operation, fits_shortcut
from nas_tf.space.operations.zero import ZERO

# What every convolution of the family has; a network with anything else is refused by name.
_CONVOLUTION = {
    "dilation": 1,
    "groups": 1,
    "bias": False,
    "has_shuffle": False,
    "use_bn": True,
    "act_func": "relu6",
    "ops_order": "weight_bn_act",
}
_BOTTLENECK = {"use_se": False, "act_func": "relu6"}
_MAX_EPSILON = 1.0  # beside variances near 1
_DEFAULT_EPSILON = 1e-3  # the family's, for files that do not say it


@dataclasses.dataclass(frozen=True)
class ImportedNetwork:
    """A published network.

    Attributes:
      bn_epsilon: of its batch norms.
      resolution: input side it was trained with, or None if the file does not say.
    """

    architecture: Architecture
    num_classes: int
    bn_epsilon: float
    resolution: int | None


def read_config(path: str) -> ImportedNetwork:
    """Reads a configuration file.

    Raises:
      UserError: not such a file, or a network with a part that this package does not build.
    """
    where = f"configuration {path!r}"
    content = files.read_json(path, "configuration")
    try:
        return _network(content, where)
    # What is quoted of the file is cut: it may hold anything of any length.
    except KeyError as error:
        raise UserError(
            f"The {where} is not a ProxylessNAS network configuration: it lacks {str(error):.60}."
        ) from error
    except ValueError as error:
        raise UserError(
            f"The {where} is not a ProxylessNAS network configuration: {str(error):.80}."
        ) from error
    except (TypeError, AttributeError) as error:
        raise UserError(
            f"The {where} is not a ProxylessNAS network configuration: a part of it "
            "is of another type than there."
        ) from error


def _network(content: dict[str, Any], where: str) -> ImportedNetwork:
    require(
        content.get("name") == "ProxylessNASNets",
        f"The {where} describes a {quoted(content.get('name'))}, not a 'ProxylessNASNets'.",
    )
    bn, stem, head = content["bn"], content["first_conv"], content["feature_mix_layer"]
    require(not bn.get("ws_eps"), f"The {where} uses weight standardization, which is not supported.")
    _check(stem, _CONVOLUTION | {"kernel_size": 3, "in_channels": 3}, f"first_conv of the {where}")
    blocks = _blocks(content["blocks"], _whole(stem["out_channels"]), where)
    _check(
        head,
        _CONVOLUTION | {"kernel_size": 1, "stride": 1, "in_channels": blocks[-1].width},
        f"feature_mix_layer of the {where}",
    )
    classifier = content["classifier"]
    _check(
        classifier,
        {"in_features": head["out_channels"], "bias": True, "use_bn": False, "act_func": None},
        f"classifier of the {where}",
    )
    architecture = Architecture(
        _whole(stem["out_channels"]),
        _whole(stem["stride"]),
        blocks,
        _whole(head["out_channels"]),
        str(content["name"]),
        "symmetric",  # PyTorch's padding; TensorFlow's own puts more at the end where stride is 2
    )
    resolution = content.get("resolution")  # 0 or nothing where the file does not say
    return ImportedNetwork(
        architecture,
        _whole(classifier["out_features"]),
        _epsilon(bn.get("eps", _DEFAULT_EPSILON)),
        _whole(resolution) if resolution else None,
    )


def _blocks(entries: list[dict], width: int, where: str) -> tuple[Block, ...]:
    blocks = []
    for index, entry in enumerate(entries):
        blocks.append(_block(entry, width, f"block {index} of the {where}"))
        width = blocks[-1].width
    require(bool(blocks), f"The {where} has no blocks.")
    return tuple(blocks)


def _block(entry: dict[str, Any], width: int, where: str) -> Block:
    conv, shortcut = entry["mobile_inverted_conv"], entry["shortcut"]
    operation: Operation
    if conv is None or conv["name"] == "ZeroLayer":
        # Only a block that keeps its shape can be skipped.
        operation, output, stride = ZERO, width, 1
    else:
        require(
            conv["name"] == "MBInvertedConvLayer",
            f"The {where} is a {quoted(conv['name'])}, which is not supported.",
        )
        _check(conv, _BOTTLENECK | {"in_channels": width}, where)
        operation = _operation(conv, width, where)
        output, stride = _whole(conv["out_channels"]), _whole(conv["stride"])
    require(
        not shortcut or shortcut["name"] == "IdentityLayer" and fits_shortcut(stride, width, output),
        f"The {where} has a shortcut that is no identity or changes the shape; an identity "
        "shortcut is supported, where stride is 1 and widths match.",
    )
    # A skipped block is its shortcut, whether the file says so or not.
    return Block(operation, output, stride, operation is ZERO or bool(shortcut))


def _operation(conv: dict[str, Any], width: int, where: str) -> Operation:
    expansion, hidden = conv["expand_ratio"], conv.get("mid_channels")
    # One digit for each in an operation's name.
    require(
        expansion in range(1, 10)
        and hidden in (None, width * expansion)
        and conv["kernel_size"] in (1, 3, 5, 7),
        f"The {where} has expansion {quoted(expansion)}, {quoted(hidden)} hidden channels and "
        f"kernel {quoted(conv['kernel_size'])}; whole expansions 1-9 and kernels 1, 3, 5, 7 are "
        "supported.",
    )
    return InvertedBottleneck(int(expansion), _whole(conv["kernel_size"]))


def _check(entry: dict[str, Any], expected: dict[str, Any], where: str) -> None:
    for key, value in expected.items():
        # What a file leaves out is as the whole family has it.
        require(
            entry.get(key, value) == value,
            f"The {where} has {key}={quoted(entry.get(key))}; only {quoted(value)} is supported.",
        )


def _epsilon(value: Any) -> float:
    # JSON's numbers have no end, and it knows NaN and infinity in Python's reading.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MAX_EPSILON:
        raise ValueError(f"eps = {quoted(value)} is not a number from 0 to {_MAX_EPSILON:g}")
    return float(value)


def _whole(value: Any) -> int:
    # To Python, True is an int.
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ValueError(f"{quoted(value)} is not a positive whole number")
    return value
