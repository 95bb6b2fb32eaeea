"""Alpha moved to where the expected cost is the target, and no further than that takes."""

import numpy as np

from nas_tf.latency.tilting import tilted
from nas_tf.search.architecture_parameters import ArchitectureParameters
from nas_tf.search.objective import Objective, Resource


def settle(parameters: ArchitectureParameters, objective: Objective) -> None:
    """What follows each architecture step: of the form `projected`, alpha moves to the target."""
    if objective.form == "projected":
        parameters.assign(onto_target(parameters.values(), objective.resources[0]))


def onto_target(alpha: np.ndarray, resource: Resource) -> np.ndarray:
    """Alpha tilted to where E[cost] is the limit: `nas_tf.latency.tilting`.

    Args:
      alpha: [blocks, candidates]; −inf for absent candidates.
      resource: T is its limit.

    Returns:
      Of the same shape; alpha itself where T is outside of what the candidates can cost.
    """
    return tilted(alpha, resource.costs, resource.limit - resource.fixed)
