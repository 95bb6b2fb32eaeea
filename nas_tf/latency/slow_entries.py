"""Candidates of a table that take far longer than their work, and what they have in common.

What a candidate's work would take is fitted to the table's own blocks,

    ms ≈ c₀ + c₁ · dense multiply-adds + c₂ · depthwise multiply-adds + c₃ · elements moved + c₄ · weights

with c ≥ 0 and with no regard to kernels, channel counts or shapes, which is what may be found to be
slow. The fit minimizes relative error, (fit / measured − 1)², to which an entry that is a hundred times
too slow adds 1 at most; what is found slow is then left out and the rest is fitted again, until
nothing changes.
"""

import dataclasses
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from nas_tf.latency.entries import Entry
from nas_tf.latency.estimate import fit_relative, layer_features
from nas_tf.latency.keys import parse_key
from nas_tf.latency.slow_traits import Trait, traits
from nas_tf.latency.table import LatencyTable
from nas_tf.space.layer_spec import BlockSpec

# Blocks without a trap reach 1.5 on this machine's tables and 1.25 on the published phone's; 7×7 begins
# at 8 (docs/latency.md).
SLOW_TIMES = 3.0
# More blocks than the five features that are fitted.
_MIN_BLOCKS = 8
_MAX_FITS = 20  # each leaves out what the one before found; three were enough for all tables so far
# A trait explains where most that have it are slow; an odd one may be fast enough for other reasons.
_MIN_SHARE = 0.75


@dataclasses.dataclass(frozen=True)
class SlowGroup:
    """Slow candidates that have something in common.

    Attributes:
      times: how many times as long as its work would take, by key.
      candidates: how many blocks the table has.
      trait: what they have in common, such as "with a 7×7 depthwise"; "" for nothing that was found.
      reason: why that is likely to be slow; "" where none is known.
    """

    times: dict[str, float]
    candidates: int
    trait: str = ""
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """For summaries, with the sentence."""
        return {**dataclasses.asdict(self), "sentence": self.sentence()}

    def sentence(self) -> str:
        """In one look: how many, which, how slow, why."""
        low, high = (_rounded(pick(self.times.values())) for pick in (min, max))
        common = f", all {self.trait}," if self.trait else f", such as {next(iter(self.times))!r},"
        return (
            f"{len(self.times)} of {self.candidates} candidates{common} "
            f"{'take' if len(self.times) > 1 else 'takes'} {low if low == high else f'{low} to {high}'} "
            "times as long as the work in it would" + (f": {self.reason}" if self.reason else "")
        )


def slow_entries(table: LatencyTable) -> list[SlowGroup]:
    """The slow candidates of a table by what they have in common; none where it has too few blocks."""
    times, blocks = _times(table)
    slow = {key: value for key, value in times.items() if _is_slow(value, table.entries[key])}
    named = {key: traits(spec, table.identity.kernels) for key, spec in blocks.items()}
    groups = []
    left = slow
    while left:
        trait = _best_trait(set(left), set(slow), named)
        group = {key: value for key, value in left.items() if trait is None or trait in named[key]}
        words = (trait.text, trait.reason) if trait else ("", "")
        groups.append(SlowGroup(group, len(blocks), *words))
        left = {key: value for key, value in left.items() if key not in group}
    return groups


def slow_for_people(summary: dict[str, Any]) -> dict[str, str]:
    """A line for each group of slow candidates; summaries of earlier versions have none."""
    groups = summary.get("slow_entries", ())
    return {f"slow{f' ({n})' if n > 1 else ''}": g["sentence"] for n, g in enumerate(groups, start=1)}


def of_network(groups: Iterable[SlowGroup], keys: Collection[str | None]) -> list[SlowGroup]:
    """The groups that have a member among these keys, such as a network's."""
    return [group for group in groups if not group.times.keys().isdisjoint(keys)]


def _times(table: LatencyTable) -> tuple[dict[str, float], dict[str, BlockSpec]]:
    """(measured time over that of its work by key, the blocks by key)."""
    specs = {key: parse_key(key) for key in table.entries}
    blocks = {key: spec for key, spec in specs.items() if isinstance(spec, BlockSpec)}
    if len(blocks) < _MIN_BLOCKS:
        return {}, blocks
    features = np.stack([_work(spec) for spec in blocks.values()])
    measured = np.array([table.entries[key].median_ms for key in blocks])
    ordinary = np.ones(len(blocks), bool)
    for _ in range(_MAX_FITS):
        ratios = measured / (features @ fit_relative(features[ordinary], measured[ordinary]))
        found = ratios < SLOW_TIMES
        if found.sum() < _MIN_BLOCKS or (found == ordinary).all():
            break
        ordinary = found
    return dict(zip(blocks, ratios.tolist(), strict=True)), blocks


def _work(spec: BlockSpec) -> np.ndarray:
    """Features of the fit, [5]; see the module."""
    constant, dense, *depthwise, moved, weights = layer_features(spec)
    return np.array([constant, dense, sum(depthwise), moved, weights])


def _is_slow(times: float, entry: Entry) -> bool:
    # The excess has to stand out of the entry's own spread as well, or noise would be called slow.
    return times >= SLOW_TIMES and entry.median_ms * (1 - 1 / times) > 3 * entry.spread_ms


def _best_trait(left: set[str], slow: set[str], named: dict[str, tuple[Trait, ...]]) -> Trait | None:
    """The trait that tells those that are left best from the ordinary ones; None where none does.

    Args:
      left: slow candidates that no trait has explained yet, of all that are `slow`.
    """
    best, best_share = None, 0.0
    # In the order in which they are named: of two that fit alike, the first is the likelier reason.
    for trait in dict.fromkeys(trait for key in named for trait in named[key]):
        have = {key for key in named if trait in named[key]}
        explained = have & left
        if len(explained) < 2 or len(have & slow) < _MIN_SHARE * len(have) or len(have) == len(named):
            continue
        share = len(explained) / len((have - slow) | left)
        if share > best_share:
            best, best_share = trait, share
    return best


def _rounded(times: float) -> str:
    return f"{times:.0f}" if times >= 10 else f"{times:.1f}"
