"""What a latency table is made of, as plain data. All times are milliseconds."""

import dataclasses
import math
from typing import Any

from nas_tf.base.errors import UserError, quoted, require

_LONGEST_NAME = 200  # characters
MAX_MS = 1e6  # a quarter of an hour, more than any layer takes: larger numbers have another unit


@dataclasses.dataclass(frozen=True)
class Entry:
    """Latency of one layer.

    Attributes:
      median_ms: the empty graph's latency is subtracted already.
      spread_ms: half the distance between the quartiles of the runs (published tables: their
        standard deviation).
      runs: how many timings the median is of.
      estimated: fitted to other entries and never measured.
      unsteady: measured again and again and still spread too far.
    """

    median_ms: float
    spread_ms: float = 0.0
    runs: int = 1
    estimated: bool = False
    unsteady: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain data; estimates are never written."""
        fields = dataclasses.asdict(self)
        del fields["estimated"]
        return fields


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a table was measured on and for: two tables mix only if all of it agrees.

    Attributes:
      device: model of the processor or the phone.
      backend: "host", "adb", or "published".
      runtime: runtime and its version.
      kernels: "builtin" or "xnnpack".
      space, width_multiplier: empty and 0 where a published table does not say.
      details: whatever else was found out (Android build, cores, …); not compared.
    """

    device: str
    backend: str
    runtime: str
    kernels: str
    num_threads: int
    dtype: str
    space: str
    resolution: int
    width_multiplier: float
    num_classes: int
    details: dict[str, Any] = dataclasses.field(default_factory=dict, compare=False)

    def differences(self, other: "Identity") -> list[str]:
        """`field: mine, theirs` for each compared field that differs."""
        names = [f.name for f in dataclasses.fields(self) if f.compare]
        return [
            f"{n}: {getattr(self, n)}, not {getattr(other, n)}"
            for n in names
            if getattr(self, n) != getattr(other, n)
        ]


@dataclasses.dataclass(frozen=True)
class Correction:
    """Makes sums of entries agree with whole networks.

        latency = intercept_ms + Σ scale · median_ms

    Attributes:
      networks: how many whole networks it was fitted on; 0 means that nothing was fitted.
      fitted_on: those networks as short strings, so that nobody judges by them; empty in
        tables that were made before this was noted.
      fitted_ms: what they took then, with which the pace of a later run is compared; empty as above.
    """

    scale: float = 1.0
    intercept_ms: float = 0.0
    networks: int = 0
    fitted_on: tuple[str, ...] = ()
    fitted_ms: tuple[float, ...] = ()

    def figures(self) -> dict[str, float]:
        """Without the list of networks, for summaries."""
        return {"scale": self.scale, "intercept_ms": self.intercept_ms, "networks": self.networks}

    @property
    def known_networks(self) -> bool:
        """Whether it is known which networks it was fitted on."""
        return len(self.fitted_on) == self.networks


def entry_from_json(key: str, content: Any, where: str) -> Entry:
    """A measured entry in parsed JSON; `where` names the file in the `UserError`s."""
    median, spread, runs = (
        _number(content, name, f"{where}, entry {key!r}") for name in ("median_ms", "spread_ms", "runs")
    )
    require(
        0 < median <= MAX_MS,
        f"The {where}, entry {key!r}, has {median} ms; a latency is above 0 and at most {MAX_MS:g} ms.",
    )
    require(
        spread >= 0 and runs >= 1,
        f"The {where}, entry {key!r}, has spread {spread} ms over {runs} runs; a spread is "
        "0 or more, over 1 run or more.",
    )
    return Entry(median, spread, int(runs), unsteady=bool(content.get("unsteady", False)))


def identity_from_json(content: Any, where: str) -> Identity:
    """The identity in parsed JSON."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Identity):
        name = field.name
        if field.type is float:
            values[name] = _number(content, name, f"{where}, identity")
            continue
        value = content.get(name) if isinstance(content, dict) else None
        allowed: Any = dict if name == "details" else field.type
        # JSON's true and false are integers to Python.
        # Names stand in messages about tables that differ.
        too_long = isinstance(value, str) and len(value) > _LONGEST_NAME
        if not isinstance(value, allowed) or isinstance(value, bool) or too_long:
            raise UserError(f"The {where} has no valid {name!r} ({quoted(value)}).")
        values[name] = value
    return Identity(**values)


def correction_from_json(content: Any, where: str) -> Correction:
    """The correction in parsed JSON."""
    scale, intercept, networks = (
        _number(content, name, f"{where}, correction") for name in ("scale", "intercept_ms", "networks")
    )
    require(
        0.1 <= scale <= 10 and abs(intercept) <= MAX_MS,
        f"The {where} has a correction of scale {scale}, intercept {intercept} ms; a scale is 0.1 to 10.",
    )
    fitted_on = content.get("fitted_on", [])
    require(
        isinstance(fitted_on, list)
        and len(fitted_on) in (0, networks)
        and all(isinstance(network, str) for network in fitted_on),
        f"The {where} has a correction fitted on {networks:.0f} networks, but its list of them "
        "is not one short string for each.",
    )
    return Correction(
        scale, intercept, int(networks), tuple(fitted_on), _fitted_ms(content, fitted_on, where)
    )


def _fitted_ms(correction: dict, fitted_on: list[str], where: str) -> tuple[float, ...]:
    times = correction.get("fitted_ms", [])
    require(
        isinstance(times, list)
        and len(times) in (0, len(fitted_on))
        and all(isinstance(t, (int, float)) and not isinstance(t, bool) and 0 < t <= MAX_MS for t in times),
        f"The {where} has a correction fitted on {len(fitted_on)} networks, but 'fitted_ms' is not one "
        "latency for each.",
    )
    return tuple(map(float, times))


def figures_from_json(content: Any, where: str) -> dict[str, float]:
    """Named finite numbers in parsed JSON; none if there are none."""
    if content is None:
        return {}
    require(
        isinstance(content, dict) and len(content) <= 100,
        f"The {where} has a prediction error that is not a list of figures.",
    )
    return {str(name): _number(content, name, where) for name in content}


def _number(content: Any, name: str, where: str) -> float:
    value = content.get(name) if isinstance(content, dict) else None
    try:
        number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:  # JSON's integers have no end
        number = math.inf
    if not math.isfinite(number):
        raise UserError(f"The {where}, has {name:.60} = {quoted(value)}; a finite number is needed.")
    return number
