"""Binary gates: which path of each mixed operation runs, and how their gradients reach alpha.

All arrays are [blocks, candidates], float64; a candidate that a block does not offer has
alpha = −inf and hence probability 0. No relaxation: one path is active, the others are off.
Source: Cai, Zhu and Han 2019 (ProxylessNAS), sections 3.2 and 3.3.
"""

import numpy as np

from nas_tf.latency.tilting import softmax


def probabilities(alpha: np.ndarray) -> np.ndarray:
    """softmax of each row: p_i = exp(α_i) / Σ_j exp(α_j)."""
    return softmax(alpha)


def log_probabilities(alpha: np.ndarray) -> np.ndarray:
    """log softmax of each row; −inf for absent candidates."""
    shifted = alpha - alpha.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def entropy(p: np.ndarray) -> float:
    """Σ over blocks of −Σ p log p, in nats."""
    positive = p[p > 0]
    return float(-(positive * np.log(positive)).sum())


def sample(rng: np.random.Generator, p: np.ndarray) -> np.ndarray:
    """One candidate per row, drawn with probabilities p.

    Returns:
      int64 [blocks].
    """
    return sample_many(rng, p, 1)[0]


def sample_many(rng: np.random.Generator, p: np.ndarray, count: int) -> np.ndarray:
    """The same, `count` times.

    Returns:
      int64 [count, blocks].
    """
    # Inverse of the cumulative distribution; the last bound is 1 whatever the rounding.
    bounds = np.cumsum(p, axis=1)
    draws = rng.random((count, len(p), 1)) * bounds[:, -1:]
    return (draws >= bounds).sum(axis=2)


def sample_involved(
    rng: np.random.Generator, p: np.ndarray, offered: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """`count` different candidates per row without replacement, and which of them is active.

    The active one is drawn with the probabilities renormalised over them. With a count of 2 these
    are the two paths of the paper's section 3.2.

    Returns:
      (involved bool [blocks, candidates] with `count` True per row, or all that the row offers
      where that is less; active int64 [blocks]).
    """
    rows = np.arange(len(p))
    involved = np.zeros(p.shape, bool)
    for _ in range(min(count, int(offered.sum(axis=1).max()))):
        rest = np.where(involved, 0.0, p)
        # A row whose mass lies in the drawn ones alone leaves nothing to draw by: take any other.
        empty = rest.sum(axis=1) < 1e-300
        rest[empty] = (offered & ~involved)[empty]
        # A row that offers no more draws what it has once again.
        complete = (involved == offered).all(axis=1)
        rest[complete] = offered[complete]
        involved[rows, sample(rng, rest)] = True
    return involved, sample(rng, renormalised(p, involved))


def renormalised(p: np.ndarray, involved: np.ndarray) -> np.ndarray:
    """Probabilities given that the draw is among the involved candidates; 0 for the others."""
    kept = np.where(involved, p, 0.0)
    return kept / kept.sum(axis=1, keepdims=True)


def alpha_gradient(gate_gradient: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Gradient in alpha of anything whose gradient in the gates (or probabilities) is given.

    Args:
      gate_gradient: ∂L/∂g, [blocks, candidates].
      p: probabilities over the involved candidates, 0 elsewhere.
    """
    # ∂L/∂α_i = Σ_j ∂L/∂g_j · p_j (δ_ij − p_i) = p_i (∂L/∂g_i − Σ_j p_j ∂L/∂g_j)
    mean = (p * gate_gradient).sum(axis=1, keepdims=True)
    return p * (gate_gradient - mean)


def score_gradient(choice: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Gradient in alpha of log P(choice): one-hot minus p (Williams, 1992)."""
    gradient = -p
    gradient[np.arange(len(p)), choice] += 1.0
    return gradient


def keep_involved_mass(before: np.ndarray, after: np.ndarray, involved: np.ndarray) -> np.ndarray:
    """Alpha after a step that may only move probability between the involved candidates.

    The involved alphas are shifted by −log(Σ e^after / Σ e^before), sums over the involved, so
    that every other candidate keeps its probability.
    """
    # As the authors' code does after a step of *two*.
    old = _log_sum_exp(np.where(involved, before, -np.inf))
    new = _log_sum_exp(np.where(involved, after, -np.inf))
    return np.where(involved, after - (new - old), before)


def _log_sum_exp(x: np.ndarray) -> np.ndarray:
    top = x.max(axis=1, keepdims=True)
    return top + np.log(np.exp(x - top).sum(axis=1, keepdims=True))
