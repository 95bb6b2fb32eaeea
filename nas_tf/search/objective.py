"""What an architecture step descends: cross-entropy and the cost of the network, in one gradient.

Everything is numpy in float64 on [blocks, candidates] arrays; see `gates` for their meaning.
"""

import dataclasses

import numpy as np

from nas_tf.base.errors import UserError
from nas_tf.search import gates

FORMS = ("projected", "constrained", "mul_log", "add_linear")
# Those that hold E[latency] at the target, from below and from above.
EQUALITIES = ("projected", "constrained")
IN_LOSS = "in_loss"  # the loss's own gradient has the latency in it (a reward)

# The ProxylessNAS authors' settings of their two forms.
MUL_LOG_ALPHA, MUL_LOG_BETA = 0.2, 0.3
ADD_LINEAR_LAMBDA = 0.1

# The gains below were tuned on five of the ten synthetic losses in docs/search.md, "Objectives". On
# all ten, E[LAT] ended within 0.32 % of its target with *full* steps.
# Weights of a constraint are in units of the loss gradient's size.
PENALTY = 100.0  # μ, per unit of relative excess
MULTIPLIER_RATE = 0.1  # η, the gain of m per step and unit of relative excess
FAR = 0.02  # relative excess beyond which m gains no faster, or it would overshoot
LARGEST_WEIGHT = 2.0  # of a constraint, so that the loss has a say while the target is far
_SCALE_DECAY = 0.98  # d, of the moving average of the gradients' ratio


@dataclasses.dataclass(frozen=True)
class Resource:
    """Something that a network spends, a sum over its layers, and how much it may.

    Attributes:
      name: with its unit, such as `latency_ms`.
      costs: [blocks, candidates]; 0 for ZeroOp and for absent candidates.
      fixed: of all that is not searched.
      limit: in the same unit.
    """

    name: str
    costs: np.ndarray
    fixed: float
    limit: float

    def expected(self, p: np.ndarray) -> float:
        """E = fixed + Σ_b Σ_k p_bk · cost_bk."""
        return float(self.fixed + (p * self.costs).sum())

    def of(self, choice: np.ndarray) -> float:
        """Cost of the network with candidate choice[b] in block b."""
        return float(self.of_each(choice))

    def of_each(self, choices: np.ndarray) -> np.ndarray:
        """The same of several networks: [..., blocks] → [...]."""
        return self.fixed + self.costs[np.arange(choices.shape[-1]), choices].sum(axis=-1)

    def range(self, offered: np.ndarray) -> tuple[float, float]:
        """Costs of the cheapest and of the dearest network."""
        low = np.where(offered, self.costs, np.inf).min(axis=1).sum()
        high = np.where(offered, self.costs, -np.inf).max(axis=1).sum()
        return float(self.fixed + low), float(self.fixed + high)


def reference_scale(latency: Resource, offered: np.ndarray) -> float:
    """The latency that mul_log's logarithms count from, in ms.

    At the authors' 1 ms ln E is 0, below it negative: there the factor pulls the wrong way, or
    has no value. So where the space's fastest network takes less than e ms, this is as much
    less than it: ln (E/u) is at least 1 for every network.
    """
    # u = min(1 ms, fastest / e)
    return min(1.0, latency.range(offered)[0] / np.e)


class Objective:
    """Gradient in alpha of a form that joins the loss with the first resource, latency.

    Forms, with E = E[latency] and T its target:
      projected: CE alone. What holds E at T is no gradient: after each step alpha is moved to where
        E = T, see `nas_tf.search.projection`.
      mul_log: CE · a · (ln (E/u) / ln (T/u))^β, the authors' reading of Eq. 3, with their unit
        u = 1 ms unless networks are as fast as that (`reference_scale`).
      add_linear: CE + λ (E − T) / T.
      constrained: CE subject to E = T, by an augmented Lagrangian, CE + s (m·h + μ/2 · h²) with
        h = (E − T) / T. The multiplier m follows h; s is the ratio of the two gradients' sizes,
        so that the same gains serve any loss. Equality, since small networks look better than
        they are while weights are shared, and a one-sided constraint would let the search
        settle below the budget (Bender et al., 2020, TuNAS, argue likewise). So is `projected`.

    Further resources are bounded from above in every form, by the same Lagrangian with
    h = max(0, (E − limit) / limit).

    Args:
      form: one of `FORMS`, or `IN_LOSS`.
      resources: latency first.
      reference: u of mul_log, in the unit of latency; every E and T lies above it.

    Attributes:
      state: float64 [1 + resources]: the scale s, which all constraints share, then the multiplier
        of each resource. With alpha and its optimizer it is all that a resumed run needs.
    """

    def __init__(self, form: str, resources: list[Resource], reference: float = 1.0):
        if form not in (*FORMS, IN_LOSS):
            raise UserError(f"Unknown latency loss {form!r}; allowed: {', '.join(FORMS)}.")
        self.form, self.resources, self._reference = form, resources, reference
        self.state = np.zeros(1 + len(resources))

    def gradient(
        self, loss: float, loss_gradient: np.ndarray, p: np.ndarray, involved_p: np.ndarray
    ) -> np.ndarray:
        """Gradient of the whole objective in alpha; moves the multipliers one step.

        Args:
          loss: cross-entropy.
          loss_gradient: its gradient in alpha.
          p: current probabilities, for E: all that may be drawn costs, not only what may move.
          involved_p: renormalised over the candidates that may move (p itself if all may).
        """
        total, constrained = loss_gradient, self.resources[1:]
        if self.form == "mul_log":
            total = self._mul_log(loss, loss_gradient, p, involved_p)
        elif self.form == "add_linear":
            total = loss_gradient + self._add_linear(involved_p)
        elif self.form == "constrained":
            constrained = self.resources
        for resource in constrained:
            total = total + self._constraint(resource, loss_gradient, p, involved_p)
        return total

    def _mul_log(
        self, loss: float, loss_gradient: np.ndarray, p: np.ndarray, involved_p: np.ndarray
    ) -> np.ndarray:
        """∇(CE · r) with r = a · (ln (E/u) / ln (T/u))^β."""
        latency = self.resources[0]
        expected = latency.expected(p)
        slope = gates.alpha_gradient(latency.costs, involved_p)
        own, target = np.log(expected / self._reference), np.log(latency.limit / self._reference)
        ratio = MUL_LOG_ALPHA * (own / target) ** MUL_LOG_BETA
        # ∇r = r · β / (E · ln (E/u)) · ∇E, so ∇(CE · r) = r · (∇CE + CE · β / (E · ln (E/u)) · ∇E)
        return ratio * (loss_gradient + loss * MUL_LOG_BETA / (expected * own) * slope)

    def _add_linear(self, involved_p: np.ndarray) -> np.ndarray:
        """∇(λ (E − T) / T) = λ / T · ∇E."""
        latency = self.resources[0]
        return ADD_LINEAR_LAMBDA / latency.limit * gates.alpha_gradient(latency.costs, involved_p)

    def _constraint(
        self, resource: Resource, loss_gradient: np.ndarray, p: np.ndarray, involved_p: np.ndarray
    ) -> np.ndarray:
        """∇(s (m·h + μ/2 · h²)) = s (m + μ·h) ∇h, once s and m have moved."""
        # h = E / limit − 1
        excess = resource.expected(p) / resource.limit - 1.0
        slope = gates.alpha_gradient(resource.costs / resource.limit, involved_p)
        scale = self._follow_scale(loss_gradient, slope)
        # Latency is an equality, so it may be pulled up too. A further resource is only bounded
        # from above: with no weight below 0, h < 0 counts as 0.
        least = -LARGEST_WEIGHT if resource is self.resources[0] else 0.0
        multiplier = self._follow_excess(1 + self.resources.index(resource), excess, least)
        weight = np.clip(multiplier + PENALTY * excess, least, LARGEST_WEIGHT)
        return scale * weight * slope

    def _follow_scale(self, loss_gradient: np.ndarray, slope: np.ndarray) -> float:
        """s ← d·s + (1 − d)·|∇CE| / |∇h|; the first ratio is taken whole."""
        # Where every gate is decided, |∇h| is 0, and so is what s multiplies.
        ratio = np.linalg.norm(loss_gradient) / max(float(np.linalg.norm(slope)), 1e-12)
        old = self.state[0]
        self.state[0] = ratio if old == 0 else _SCALE_DECAY * old + (1 - _SCALE_DECAY) * ratio
        return self.state[0]

    def _follow_excess(self, index: int, excess: float, least: float) -> float:
        """m ← m + η·h, with h within ±FAR and m within [least, LARGEST_WEIGHT]; m is state[index]."""
        gain = MULTIPLIER_RATE * np.clip(excess, -FAR, FAR)
        self.state[index] = np.clip(self.state[index] + gain, least, LARGEST_WEIGHT)
        return self.state[index]
