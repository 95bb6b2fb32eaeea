"""Several networks drawn from what a search learned, of which the best on held-out images is taken.

The most probable network is one point of a distribution that a short search leaves broad, and alpha knows
each block alone. What candidates are worth together, the shared weights can say: each network that is drawn
runs with them on the held-out images.
"""

from collections.abc import Callable

import numpy as np

from nas_tf.search import gates

_DRAWS, _MOST_DRAWS = 10_000, 1_000_000  # at a time, and in all
_ATTEMPTS = 10  # for each network wanted, before there are taken to be no others


def drawn_networks(
    derive: Callable[[np.ndarray], np.ndarray],
    fits: Callable[[np.ndarray], np.ndarray],
    log_p: np.ndarray,
    count: int,
    seed: int,
) -> list[np.ndarray]:
    """The most probable network within the limits, and others as probably as they are among those within.

    Exactly, by drawing networks until enough fit. Alpha that was moved to the budget prefers what is cheap;
    among networks that all use the budget, none is preferred for that. Where hardly any fit, the rest are
    the most probable ones after standard Gumbel noise on every log p, which keeps to what is cheap in each
    block (perturb and MAP: Papandreou and Yuille, ICCV 2011).

    Args:
      derive: log p, [blocks, candidates] → the best choice within the limits, int64 [blocks].
      fits: choices, int64 [networks, blocks] → bool [networks]: which are within the limits.
      log_p: −inf for absent candidates.
      count: how many different ones; fewer come back where there are no more.
      seed: of the draws.
    """
    rng, found = np.random.default_rng(seed), {}
    first = derive(log_p)
    found[tuple(first)] = first
    for _ in range(_MOST_DRAWS // _DRAWS):
        if len(found) >= count:
            break
        drawn = gates.sample_many(rng, np.exp(log_p), _DRAWS)
        for choice in drawn[fits(drawn)]:
            if len(found) < count:
                found.setdefault(tuple(choice), choice)
    for _ in range(_ATTEMPTS * count):
        if len(found) >= count:
            break
        choice = derive(log_p + rng.gumbel(size=log_p.shape))
        found.setdefault(tuple(choice), choice)
    return list(found.values())
