"""Several networks drawn from what a search learned, of which the best on held-out images is taken.

The most probable network is one point of a distribution that a short search leaves broad, and alpha knows
each block alone. What candidates are worth together, the shared weights can say: each network that is drawn
runs with them on the held-out images.
"""

from collections.abc import Callable

import numpy as np

_ATTEMPTS = 10  # for each network wanted, before there are taken to be no others


def drawn_networks(
    derive: Callable[[np.ndarray], np.ndarray], log_p: np.ndarray, count: int, seed: int
) -> list[np.ndarray]:
    """The most probable network within the limits, and others drawn about as probably as they are.

    Each of the others is the most probable one after standard Gumbel noise on every log p: for one block
    alone, and without limits, that draws candidate k with probability p_k exactly (perturb and MAP:
    Papandreou and Yuille, ICCV 2011).

    Args:
      derive: log p, [blocks, candidates] → the best choice within the limits, int64 [blocks].
      log_p: −inf for absent candidates.
      count: how many different ones; fewer come back where so many attempts find no more.
      seed: of the noise.
    """
    rng, found = np.random.default_rng(seed), {}
    for attempt in range(_ATTEMPTS * count):
        if len(found) == count:
            break
        noise = rng.gumbel(size=log_p.shape) if attempt else 0.0
        choice = derive(log_p + noise)
        found.setdefault(tuple(choice), choice)
    return list(found.values())
