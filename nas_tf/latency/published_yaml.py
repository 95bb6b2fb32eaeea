"""Reading a published ProxylessNAS latency table: YAML of key → count, mean (ms), var."""

import math
from typing import Any

import yaml

from nas_tf.base.errors import UserError, require, shortened
from nas_tf.latency.entries import Entry, Identity, entry_from_json
from nas_tf.latency.keys import parse_key
from nas_tf.space.layer_spec import ClassifierSpec, StemSpec
from nas_tf.space.search_space import SPACES

_MAX_DEPTH = 3  # a table has two levels: layers, and the figures of each
# The C loader is many times as fast; not every build of PyYAML has it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_published(text: str, where: str) -> tuple[Identity, dict[str, Entry]]:
    """Identity and entries of a published table's text; `where` names it in the `UserError`s."""
    content = _safe_yaml(text, where)
    require(
        isinstance(content, dict) and bool(content), f"The {where} is not a mapping from layers to latencies."
    )
    entries = {str(key): _entry(str(key), value, where) for key, value in content.items()}
    return _infer_identity(entries, where), entries


def _safe_yaml(text: str, where: str) -> Any:
    """Parsed YAML without aliases, tags or deep nesting, so that no small file grows in memory."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.events.CollectionStartEvent)
            depth -= isinstance(event, yaml.events.CollectionEndEvent)
            if depth > _MAX_DEPTH or isinstance(event, yaml.events.AliasEvent):
                raise UserError(
                    f"The {where} is nested or aliased; a latency table is a plain "
                    "mapping of key to count, mean and var."
                )
        return yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"The {where} is not valid YAML: {shortened(str(error))}.") from error


def _entry(key: str, content: Any, where: str) -> Entry:
    parse_key(key)
    if not isinstance(content, dict) or not {"count", "mean", "var"} <= content.keys():
        raise UserError(f"The {where}, entry {key!r}, needs count, mean and var.")
    variance = content["var"]
    try:
        spread = math.sqrt(variance) if isinstance(variance, (int, float)) and variance >= 0 else -1.0
    except OverflowError:  # YAML's integers have no end
        spread = math.inf
    return entry_from_json(
        key, {"median_ms": content["mean"], "spread_ms": spread, "runs": content["count"]}, where
    )


def _infer_identity(entries: dict[str, Entry], where: str) -> Identity:
    """The file does not name its space: the resolution is the stem's, the space one it covers."""
    specs = [parse_key(key) for key in entries]
    stems = [s for s in specs if isinstance(s, StemSpec)]
    classes = [s.output_width for s in specs if isinstance(s, ClassifierSpec)]
    require(bool(stems) and bool(classes), f"The {where} lacks a first convolution or a classifier.")
    resolution = max(stem.input_size for stem in stems)
    covered = [
        s.name for s in SPACES.values() if s.latency_specs(resolution, classes[0]).keys() <= entries.keys()
    ]
    return Identity(
        device="unnamed",
        backend="published",
        runtime="unnamed",
        kernels="unnamed",
        num_threads=1,
        dtype="unnamed",
        space=covered[0] if covered else "",
        resolution=resolution,
        width_multiplier=1.0 if covered else 0.0,
        num_classes=classes[0],
    )
