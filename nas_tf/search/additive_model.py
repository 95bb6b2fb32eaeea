"""What the figures of some networks say of each candidate, and so of all other networks of the space."""

import statistics
from collections.abc import Sequence

import numpy as np

# Of the variance of figures, what candidates are taken to explain. Not the most probable share given the
# figures: what networks do in their first steps is more regular than what they reach in the end.
SHARE = 0.6


class AdditiveModel:
    """Bayesian linear regression of figures on what the networks' candidates are.

        z = Σ_b φ[b, choice_b] · w + ε,   w ~ N(0, s·c·I),   ε ~ N(0, (1 − s)·I)

    z are the figures' normal scores, so that a network that diverged is the last one and not an outlier; φ
    are centred at the networks' mean; c makes the mean variance of the sums 1; s is `SHARE` (Rasmussen and
    Williams 2006, section 2.1).

    Args:
      features: [blocks, candidates, features].
      offered: bool [blocks, candidates].
      choices: the networks, int64 [blocks] each; at least two different ones.
      figures: one for each, of which only the order counts.
    """

    def __init__(
        self,
        features: np.ndarray,
        offered: np.ndarray,
        choices: Sequence[np.ndarray],
        figures: Sequence[float],
    ):
        self._features, self._offered = features, offered
        sums = self._sums(choices)
        self._centred, self._scores = sums - sums.mean(axis=0), normal_scores(figures)
        products = self._centred @ self._centred.T
        # Of each weight before any figure; bounded where all networks are alike, which tells nothing.
        self._variance = SHARE / max(float(np.diag(products).mean()), 1e-12)
        self._inverse = np.linalg.inv(self._variance * products + (1 - SHARE) * np.eye(len(products)))

    def effects(self, rng: np.random.Generator | None = None, deviation: float = 1.0) -> np.ndarray:
        """What each candidate adds to z.

        Args:
          rng: None: the mean. Else a draw given the figures, `deviation` times as far from the mean.

        Returns:
          [blocks, candidates]; −inf for what is not offered.
        """
        weights = self._weights(None)
        if rng is not None:
            weights += deviation * (self._weights(rng) - weights)
        return np.where(self._offered, self._features @ weights, -np.inf)

    def _weights(self, rng: np.random.Generator | None) -> np.ndarray:
        """Their mean given z, or a draw by Matheron's rule: w₀ + s·c·Φᵀ C⁻¹ (z − Φ w₀ − ε)."""
        prior, noise = np.zeros(self._centred.shape[1]), np.zeros(len(self._scores))
        if rng is not None:
            prior = rng.normal(0.0, self._variance**0.5, prior.shape)
            noise = rng.normal(0.0, (1 - SHARE) ** 0.5, noise.shape)
        residual = self._scores - self._centred @ prior - noise
        return prior + self._variance * self._centred.T @ (self._inverse @ residual)

    def _sums(self, choices: Sequence[np.ndarray]) -> np.ndarray:
        """Σ_b φ[b, choice_b]: [networks, features]."""
        blocks = np.arange(len(self._features))
        return np.stack([self._features[blocks, choice].sum(axis=0) for choice in choices])


def normal_scores(figures: Sequence[float]) -> np.ndarray:
    """Quantiles of the standard normal distribution, in the figures' order; equals get their mean.

    The r-th of n gets Φ⁻¹((r − ½) / n) (Hazen's plotting position).
    """
    values = np.asarray(figures)
    normal, count = statistics.NormalDist(), len(values)
    quantiles = np.array([normal.inv_cdf((rank + 0.5) / count) for rank in range(count)])
    scores = np.empty(count)
    scores[np.argsort(values, kind="stable")] = quantiles
    for value in np.unique(values):
        scores[values == value] = scores[values == value].mean()
    return scores
