"""A latency table: milliseconds of every layer that a search space offers, on one device."""

import dataclasses
import functools
import os
import pathlib
from typing import Any

from nas_tf.base import files
from nas_tf.base.errors import UserError, quoted, require
from nas_tf.latency.entries import (
    Correction,
    Entry,
    Identity,
    correction_from_json,
    entry_from_json,
    figures_from_json,
    identity_from_json,
)
from nas_tf.latency.estimate import Estimator
from nas_tf.latency.keys import nearest, parse_key
from nas_tf.latency.published_yaml import parse_published
from nas_tf.space.architecture import Architecture
from nas_tf.space.layer_spec import LayerSpec
from nas_tf.space.search_space import find_space

FORMAT = "nas_tf.latency_table/1"
MISSING = ("error", "estimate")
# Far above any table (the published one has 72 entries), so that no file fills the memory.
_MAX_BYTES = 32 << 20
_MAX_ENTRIES = 100_000
_SHOWN_KEYS = 3  # of those that are missing


@dataclasses.dataclass(frozen=True)
class LatencyTable:
    """Predicts a network's latency as a sum over its layers.

    Attributes:
      baseline_ms: latency of an empty graph, paid once per network.
      prediction_error: how well it predicted whole networks that its correction was not
        fitted on (`accuracy.report`); empty if that was never measured.
      missing: what `cost_ms` does for a layer that was not measured: "error" or "estimate".
      path: where it was read from, for messages.
    """

    identity: Identity
    entries: dict[str, Entry]
    baseline_ms: float = 0.0
    correction: Correction = Correction()
    prediction_error: dict[str, float] = dataclasses.field(default_factory=dict)
    missing: str = "error"
    path: str = ""

    @property
    def intercept_ms(self) -> float:
        """What a network costs before its first layer."""
        return self.baseline_ms + self.correction.intercept_ms

    def entry(self, spec: LayerSpec) -> Entry:
        """The uncorrected entry of a layer, estimated if the table allows that.

        Raises:
          UserError: the entry is missing and may not be estimated; names the nearest ones.
        """
        if spec.key in self.entries:
            return self.entries[spec.key]
        if self.missing == "estimate":
            return Entry(self._estimator.estimate_ms(spec), estimated=True)
        raise UserError(
            f"The latency table {self.path!r} has no entry {spec.key!r}; the nearest are "
            f"{', '.join(map(repr, nearest(spec, list(self.entries))))}. Measure a table for this "
            "network, or allow --missing_latency=estimate."
        )

    def cost_ms(self, spec: LayerSpec) -> float:
        """Latency that this layer adds to a network, corrected; 0 for ZeroOp."""
        return 0.0 if spec.key is None else self.correction.scale * self.entry(spec).median_ms

    def predict_ms(self, architecture: Architecture, resolution: int, num_classes: int) -> float:
        """Predicted latency of a whole network.

            intercept_ms + Σ cost_ms(layer)

        Raises:
          UserError: entries are missing; names all of them.
        """
        layers = architecture.layers(resolution, num_classes)
        absent = [] if self.missing == "estimate" else self.missing_keys(layers)
        # A single one is told by `entry`, which also names the nearest.
        if len(absent) > 1:
            shown = ", ".join(map(repr, absent[:_SHOWN_KEYS]))
            more = f" and {len(absent) - _SHOWN_KEYS} more" if len(absent) > _SHOWN_KEYS else ""
            raise UserError(
                f"The latency table {self.path!r} lacks {len(absent)} entries of this network"
                f"{self._made_for_another(resolution, num_classes)}: {shown}{more}. Measure a table for this "
                "network (--also_architectures), or allow --missing_latency=estimate."
            )
        return self.intercept_ms + sum(map(self.cost_ms, layers))

    def _made_for_another(self, resolution: int, num_classes: int) -> str:
        """That the table is for other images or classes than these; nothing where that is not known."""
        own = self.identity
        asked = {"resolution": resolution, "num_classes": num_classes}
        other = {name: value for name, value in asked.items() if getattr(own, name) not in (0, value)}
        if not other:
            return ""
        held, wanted = (
            " and ".join(f"--{name}={value}" for name, value in values.items())
            for values in ({name: getattr(own, name) for name in other}, other)
        )
        return f", for it was measured with {held}, not with {wanted}"

    def missing_keys(self, layers: tuple[LayerSpec, ...]) -> list[str]:
        """Keys of these layers that were not measured, each once, in order."""
        keys = dict.fromkeys(layer.key for layer in layers if layer.key is not None)
        return [key for key in keys if key not in self.entries]

    def check_fits(
        self, space_name: str, resolution: int, width_multiplier: float, num_classes: int | None = None
    ) -> None:
        """Raises `UserError` saying what differs unless the table covers this space.

        Args:
          num_classes: of the classifier; None accepts the table's own, and so does a table
            that may estimate the classifier.
        """
        own, differing = self.identity, []
        if num_classes is None or self.missing == "estimate":
            num_classes = own.num_classes
        asked = {
            "space": space_name,
            "resolution": resolution,
            "width_multiplier": width_multiplier,
            "num_classes": num_classes,
        }
        for name, value in asked.items():
            # Empty or 0 where a published table does not say.
            if getattr(own, name) and getattr(own, name) != value:
                differing.append(f"{name} {getattr(own, name)} there, {value} asked")
        if not differing and self.missing == "error":
            space = find_space(space_name).scaled(width_multiplier)
            absent = space.latency_specs(resolution, num_classes).keys() - self.entries.keys()
            if absent:
                differing.append(f"{len(absent)} entries are missing, such as {min(absent)!r}")
        only_classes = len(differing) == 1 and own.num_classes not in (0, num_classes)
        advice = (
            " --missing_latency=estimate takes it, with the classifier estimated." if only_classes else ""
        )
        require(
            not differing,
            f"The latency table {self.path!r} does not fit this search: {'; '.join(differing)}.{advice}",
        )

    @functools.cached_property
    def _estimator(self) -> Estimator:
        return Estimator({key: entry.median_ms for key, entry in self.entries.items()})


def save_table(path: str | os.PathLike, table: LatencyTable) -> None:
    """Writes the table as JSON, atomically."""
    files.write_json(
        path,
        {
            "format": FORMAT,
            "unit": "ms",
            "identity": dataclasses.asdict(table.identity),
            "baseline_ms": table.baseline_ms,
            "correction": dataclasses.asdict(table.correction),
            "prediction_error": table.prediction_error,
            "entries": {key: entry.to_json() for key, entry in table.entries.items()},
        },
    )


def load_table(path: str | os.PathLike, missing: str = "error") -> LatencyTable:
    """Reads a table of ours (JSON) or a published one (YAML).

    Args:
      path: `.json`, `.yaml` or `.yml`.
      missing: "error", or "estimate" to fit missing entries to the table's own.

    Raises:
      UserError: the file cannot be read, or is not a table of sane numbers.
    """
    # An empty name would become ".", and be called a folder.
    given, path = str(path), pathlib.Path(path)
    require(missing in MISSING, f"missing={missing!r}; allowed: {', '.join(MISSING)}.")
    require(not given or not path.is_dir(), f"The latency table {given!r} is a folder.")
    require(path.is_file(), f"There is no latency table {given!r}.")
    require(
        path.stat().st_size <= _MAX_BYTES,
        f"The latency table {str(path)!r} is larger than {_MAX_BYTES >> 20} MiB.",
    )
    where = f"latency table {str(path)!r}"
    if path.suffix in (".yaml", ".yml"):
        try:
            identity, entries = parse_published(path.read_text(encoding="utf-8"), where)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"Cannot read the {where}: {error}.") from error
        return LatencyTable(identity, entries, missing=missing, path=str(path))
    content = files.read_json(path, "latency table")
    return dataclasses.replace(table_from_json(content, where), missing=missing, path=str(path))


def table_from_json(content: Any, where: str) -> LatencyTable:
    """The table in parsed JSON; `where` names the file in the `UserError`s."""
    require(isinstance(content, dict), f"The {where} is not a latency table: it is JSON, but no object.")
    found = content.get("format")
    require(found == FORMAT, f"The {where} has format {quoted(found)}; this version reads {FORMAT!r}.")
    entries, baseline = content.get("entries"), content.get("baseline_ms")
    require(
        isinstance(entries, dict) and 0 < len(entries) <= _MAX_ENTRIES,
        f"The {where} needs 1 to {_MAX_ENTRIES} entries.",
    )
    require(
        isinstance(baseline, (int, float)) and not isinstance(baseline, bool) and 0 <= baseline <= 1e6,
        f"The {where} has baseline_ms = {quoted(baseline)}; 0 or more is needed.",
    )
    for key in entries:
        parse_key(key)
    return LatencyTable(
        identity_from_json(content.get("identity"), where),
        {key: entry_from_json(key, value, where) for key, value in entries.items()},
        float(baseline),
        correction_from_json(content.get("correction"), where),
        figures_from_json(content.get("prediction_error"), where),
    )
