"""Reading a table's keys back into layers, and naming the nearest ones to a key."""

import re

from nas_tf.base.errors import UserError
from nas_tf.space.candidates import parse_key_fields
from nas_tf.space.layer_spec import (
    BlockSpec,
    ClassifierSpec,
    FeaturesSpec,
    HeadSpec,
    LayerSpec,
    StemSpec,
    allows,
)
from nas_tf.space.operations.operation import fits_shortcut

MAX_KEY_LENGTH = 200
_SHAPE = r"input:(?P<i>\d{1,5})x(?P=i)x(?P<iw>\d{1,5})-output:"
_SQUARE = r"(?P<o>\d{1,5})x(?P=o)x(?P<ow>\d{1,5})"
_STEM = re.compile(rf"Conv-{_SHAPE}{_SQUARE}")
_HEAD = re.compile(rf"Conv_1-{_SHAPE}{_SQUARE}")
_FEATURES = re.compile(rf"Conv_2-{_SHAPE}{_SQUARE}")
_CLASSIFIER = re.compile(rf"Logits-{_SHAPE}(?P<ow>\d{{1,6}})")
# Behind features, which are pooled already.
_POOLED = re.compile(r"Logits-input:(?P<iw>\d{1,5})-output:(?P<ow>\d{1,6})")
_BLOCK = re.compile(
    rf"(?P<name>[a-z_]{{1,40}})-{_SHAPE}{_SQUARE}-(?P<fields>[a-z0-9:-]{{1,60}}?)-stride:(?P<s>[12])"
    r"-idskip:(?P<skip>[01])"
)


def parse_key(key: str) -> LayerSpec:
    """The layer of a table's key.

    Raises:
      UserError: the key is not one that `LayerSpec.key` writes.
    """
    spec = _parse(key) if len(key) <= MAX_KEY_LENGTH else None
    # Written again it has to be the same: leading zeros or an output of another size are refused.
    if spec is None or spec.key != key:
        raise UserError(f"{key[:MAX_KEY_LENGTH]!r} is not the key of a layer.")
    return spec


def _parse(key: str) -> LayerSpec | None:
    pooled = _POOLED.fullmatch(key)
    if pooled and int(pooled["iw"]) and int(pooled["ow"]):
        return ClassifierSpec(1, int(pooled["iw"]), int(pooled["ow"]), pools=False)
    for pattern in (_STEM, _HEAD, _FEATURES, _CLASSIFIER, _BLOCK):
        match = pattern.fullmatch(key)
        if match:
            break
    else:
        return None
    size, input_width, output_width = int(match["i"]), int(match["iw"]), int(match["ow"])
    if not (size and input_width and output_width):
        return None
    if pattern is _CLASSIFIER:
        return ClassifierSpec(size, input_width, output_width)
    if pattern is _FEATURES:
        return FeaturesSpec(size, input_width, output_width)
    if pattern is _HEAD:
        return HeadSpec(size, input_width, output_width)
    if pattern is _STEM:
        # The published key of the stem does not tell its stride.
        return StemSpec(size, input_width, output_width, 1 if match["o"] == match["i"] else 2)
    operation = parse_key_fields(match["name"], match["fields"])
    shape, shortcut = (int(match["s"]), input_width, output_width), match["skip"] == "1"
    if operation is None or shortcut and not fits_shortcut(*shape) or not allows(operation, *shape):
        return None
    return BlockSpec(size, input_width, output_width, int(match["s"]), operation, shortcut)


def nearest(spec: LayerSpec, keys: list[str], count: int = 3) -> list[str]:
    """The `count` keys whose layers are most like `spec`: of its kind, with the closest shapes."""

    def distance(key: str) -> tuple:
        other = parse_key(key)
        shapes = sum(
            abs(getattr(spec, n) - getattr(other, n)) / max(getattr(spec, n), 1)
            for n in ("input_size", "input_width", "output_width", "stride")
        )
        operation = getattr(spec, "operation", None) != getattr(other, "operation", None)
        return type(spec) is not type(other), shapes + 0.5 * operation, key

    return sorted(keys, key=distance)[:count]
