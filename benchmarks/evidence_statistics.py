"""Statistics of compared networks: means with intervals, and spreads between networks and between seeds."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean with the half-width of its 95 % interval; NaN for a single value."""

    mean: float
    half_width: float


def mean_interval(values: Sequence[float]) -> Interval:
    """Student's t interval of a mean."""
    from scipy import stats

    x = np.asarray(values, float)
    if len(x) < 2:
        return Interval(float(x.mean()), float("nan"))
    # t_{0.975, n−1} · s / √n
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return Interval(float(x.mean()), float(half))


@dataclasses.dataclass(frozen=True)
class Spread:
    """Standard deviations between networks and between seeds of one network.

    Attributes:
      f, p: of the one-way analysis of variance: how probable so large a spread between networks were if
        they were all alike.
    """

    between: float
    within: float
    f: float
    p: float


def spread(groups: Sequence[Sequence[float]]) -> Spread:
    """Of one group of values for each network, of which some have several seeds.

    One-way random effects with unequal groups (Searle, Casella and McCulloch 1992, section 3.6):
    σ²_within = MSW, σ²_between = (MSB − MSW) / n₀ with n₀ = (N − Σ n_i² / N) / (k − 1).
    """
    from scipy import stats

    arrays = [np.asarray(group, float) for group in groups]
    sizes = np.array([len(a) for a in arrays])
    total, k = int(sizes.sum()), len(arrays)
    grand = sum(a.sum() for a in arrays) / total
    msw = sum(((a - a.mean()) ** 2).sum() for a in arrays) / (total - k)
    msb = sum(len(a) * (a.mean() - grand) ** 2 for a in arrays) / (k - 1)
    n0 = (total - (sizes**2).sum() / total) / (k - 1)
    f = msb / msw
    p = float(stats.f.sf(f, k - 1, total - k))
    return Spread(float(np.sqrt(max(0.0, (msb - msw) / n0))), float(np.sqrt(msw)), float(f), p)


@dataclasses.dataclass(frozen=True)
class Difference:
    """One mean less another, and its standard error."""

    mean: float
    error: float


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Of independent samples of unequal spread (Welch): error √(s₁²/n₁ + s₂²/n₂); NaN with one value."""
    a, b = np.asarray(first, float), np.asarray(second, float)
    if min(len(a), len(b)) < 2:
        return Difference(float(a.mean() - b.mean()), float("nan"))
    error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    return Difference(float(a.mean() - b.mean()), float(error))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """(Spearman's ρ, its p value)."""
    from scipy import stats

    result = stats.spearmanr(first, second)
    return float(result.statistic), float(result.pvalue)
