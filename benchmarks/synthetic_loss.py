"""A search whose loss is known: every block adds its candidate's own cost, with noise."""

import numpy as np

from nas_tf.search import gates
from nas_tf.search.architecture_parameters import ArchitectureParameters
from nas_tf.search.objective import Objective
from nas_tf.search.projection import settle


def random_quality(
    rng: np.random.Generator, costs: np.ndarray, offered: np.ndarray, size: float = 0.03
) -> np.ndarray:
    """Loss that each candidate adds, [blocks, candidates]: slower ones tend to be better.

    −size · ln(1 + cost) as accuracy grows with cost at a falling rate, plus half as much at
    random, so that the best network of a budget is none that costs alone would name.
    """
    quality = size * (0.5 * rng.normal(size=costs.shape) - np.log1p(costs))
    return np.where(offered, quality, 0.0)


def search(
    parameters: ArchitectureParameters,
    objective: Objective,
    quality: np.ndarray,
    steps: int,
    rng: np.random.Generator,
    noise: float,
    mode: str = "two",
    base_loss: float = 3.0,
) -> None:
    """Architecture steps on the loss base + Σ_b quality[b, active_b].

    The gates' gradients of such a loss are the qualities; normal noise of this standard
    deviation stands for the batch.
    """
    offered = parameters.offered
    for _ in range(steps):
        p = parameters.probabilities()
        involved = gates.sample_involved(rng, p, offered, 2)[0] if mode == "two" else offered
        involved_p = gates.renormalised(p, involved)
        # ∂L/∂g_k = quality_k
        gate_gradient = quality + rng.normal(0, noise, quality.shape)
        loss = base_loss + (p * quality).sum()
        gradient = objective.gradient(loss, gates.alpha_gradient(gate_gradient, involved_p), p, involved_p)
        parameters.apply_gradient(gradient, involved)
        settle(parameters, objective)
