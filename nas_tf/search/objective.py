"""What an architecture step descends: cross-entropy and the cost of the network, in one gradient.

Everything is numpy in float64 on [blocks, candidates] arrays; see `gates` for their meaning.
"""

import dataclasses

import numpy as np

from nas_tf.base.errors import UserError
from nas_tf.search import gates

FORMS = ("constrained", "mul_log", "add_linear")
IN_LOSS = "in_loss"  # the loss's own gradient has the latency in it (a reward)

# The ProxylessNAS authors' settings of their two forms.
MUL_LOG_ALPHA, MUL_LOG_BETA = 0.2, 0.3
ADD_LINEAR_LAMBDA = 0.1

# Weights of a constraint are in units of the loss gradient's size.
PENALTY = 100.0  # μ, a unit of relative excess
MULTIPLIER_RATE = 0.1  # gain of m a step and unit of relative excess
FAR = 0.02  # relative excess beyond which m gains no faster, or it would overshoot
LARGEST_WEIGHT = 2.0  # so that the loss has a say while the target is far
_SCALE_DECAY = 0.98  # of the moving average of the gradients' ratio


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
        return float(self.fixed + self.costs[np.arange(len(choice)), choice].sum())

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
      mul_log: CE · a · (ln (E/u) / ln (T/u))^β, the authors' reading of Eq. 3, with their unit
        u = 1 ms unless networks are as fast as that (`reference_scale`).
      add_linear: CE + λ (E − T) / T.
      constrained: CE subject to E = T, by an augmented Lagrangian, CE + s (m·h + μ/2 · h²) with
        h = (E − T) / T. The multiplier m follows h; s is the ratio of the two gradients' sizes,
        so that the same gains serve any loss. Equality, since small networks look better than
        they are while weights are shared, and a one-sided constraint would let the search
        settle below the budget (Bender et al., 2020, TuNAS, argue likewise).

    Further resources are bounded from above in every form: h = max(0, (E − limit) / limit).

    Args:
      form: one of `FORMS`, or `IN_LOSS`.
      resources: latency first.
      reference: u of mul_log, in the unit of latency; every E and T lies above it.

    Attributes:
      state: float64 [1 + resources]: the scale s, then a multiplier a resource. With alpha
        and its optimizer it is all that a resumed run needs.
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
          p: current probabilities, for E.
          involved_p: renormalised over the candidates that may move (p itself if all may).
        """
        latency = self.resources[0]
        value = latency.expected(p)
        slope = gates.alpha_gradient(latency.costs, involved_p)
        total = loss_gradient
        if self.form == "mul_log":
            # d(CE·r) = r·dCE + CE·dr,  r = a (ln E/u / ln T/u)^β,  dr = r·β / (E ln E/u) · dE
            own, target = np.log(value / self._reference), np.log(latency.limit / self._reference)
            ratio = MUL_LOG_ALPHA * (own / target) ** MUL_LOG_BETA
            total = ratio * (loss_gradient + loss * MUL_LOG_BETA / (value * own) * slope)
        elif self.form == "add_linear":
            total = loss_gradient + ADD_LINEAR_LAMBDA / latency.limit * slope
        bounded = self.resources if self.form == "constrained" else self.resources[1:]
        for resource in bounded:
            total = total + self._constraint(resource, loss_gradient, p, involved_p)
        return total

    def _constraint(
        self, resource: Resource, loss_gradient: np.ndarray, p: np.ndarray, involved_p: np.ndarray
    ) -> np.ndarray:
        """s (m + μ h) ∇h, after m ← m + η h; both within bounds."""
        index = 1 + self.resources.index(resource)
        excess = resource.expected(p) / resource.limit - 1.0
        slope = gates.alpha_gradient(resource.costs / resource.limit, involved_p)
        self._follow_scale(loss_gradient, slope)
        least = -LARGEST_WEIGHT if resource is self.resources[0] else 0.0
        gain = MULTIPLIER_RATE * np.clip(excess, -FAR, FAR)
        self.state[index] = np.clip(self.state[index] + gain, least, LARGEST_WEIGHT)
        weight = np.clip(self.state[index] + PENALTY * excess, least, LARGEST_WEIGHT)
        return self.state[0] * weight * slope

    def _follow_scale(self, loss_gradient: np.ndarray, slope: np.ndarray) -> None:
        """s ← moving average of |∇CE| / |∇h|."""
        ratio = np.linalg.norm(loss_gradient) / max(float(np.linalg.norm(slope)), 1e-12)
        old = self.state[0]
        self.state[0] = ratio if old == 0 else _SCALE_DECAY * old + (1 - _SCALE_DECAY) * ratio
