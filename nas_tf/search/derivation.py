"""From probabilities to networks: the most probable ones within limits, found exactly."""

from collections.abc import Sequence

import numpy as np

from nas_tf.base.errors import UserError
from nas_tf.search.objective import Resource

METHODS = ("budget", "argmax")


def most_probable(
    log_p: np.ndarray,
    resources: Sequence[Resource],
    count: int = 1,
    least_share: float = 0.0,
) -> list[np.ndarray]:
    """The `count` most probable architectures whose every cost is at or under its limit.

    An integer program, solved to optimality by HiGHS: x_bk ∈ {0, 1}, Σ_k x_bk = 1, maximize
    Σ x_bk log p_bk subject to fixed + Σ x_bk cost_bk ≤ limit, and ≥ least_share · limit of the first
    resource. Each found architecture is cut off
    (Σ over its candidates of x ≤ blocks − 1) to find the next.

    Args:
      log_p: [blocks, candidates]; −inf for absent candidates.
      resources: with their limits; none: the most probable of all.
      count: how many; fewer come back if no more fit.
      least_share: of the first resource's limit; 0: none.

    Returns:
      int64 [blocks] arrays, most probable first.

    Raises:
      UserError: no architecture fits.
    """
    if np.isnan(log_p).any() or not np.isfinite(log_p).any(axis=1).all():
        raise UserError(
            "The architecture parameters are not finite numbers, so no network can be "
            "derived from them; use a smaller --search_alpha_learning_rate or "
            "--search_learning_rate in another --workdir."
        )
    program = _Program(log_p, resources, least_share)
    found: list[np.ndarray] = []
    while len(found) < count:
        choice = program.solve()
        if choice is None:
            break
        # Also what is rejected below, or the solver would find it again for ever.
        program.cut_off(choice)
        # The solver's tolerance may let a network pass that is over the limit by a hair.
        if all(resource.of(choice) <= resource.limit for resource in resources):
            # The lower end is no promise to anyone: a hair under it passes.
            found.append(choice)
    if not found:
        limits = ", ".join(f"{r.name} <= {r.limit:g}" for r in resources)
        if least_share:
            limits += f", {resources[0].name} >= {least_share:g} of its limit"
        raise UserError(f"No network of the search space satisfies {limits}.")
    return found


def most_probable_using(
    log_p: np.ndarray, resources: Sequence[Resource], share: float, count: int = 1
) -> list[np.ndarray]:
    """`most_probable` of those that use this share of the first limit; of all, where none does.

    Where fewer than `count` use it, the most probable of the others within the limits follow.
    """
    try:
        found = most_probable(log_p, resources, count, share) if share else []
    except UserError:
        found = []  # no network uses so much, or none at all can be derived, which is said below
    if len(found) == count:
        return found
    known = {tuple(choice) for choice in found}
    others = most_probable(log_p, resources, count + len(found)) if len(found) < count else []
    found += [choice for choice in others if tuple(choice) not in known]
    return found[:count]


class _Program:
    """The integer program over the offered candidates."""

    def __init__(self, log_p: np.ndarray, resources: Sequence[Resource], least_share: float):
        self._offered = np.isfinite(log_p)
        self._blocks, self._candidates = np.nonzero(self._offered)
        self._gain = log_p[self._offered]
        one_hot = self._blocks == np.arange(len(log_p))[:, None]
        rows, low, high = [one_hot], [np.ones(len(log_p))], [np.ones(len(log_p))]
        for index, resource in enumerate(resources):
            # In units of the limit, because the solver's tolerance is one number for milliseconds and
            # for millions of parameters. A limit may be below 0 where a correction's intercept is.
            scale = 1.0 / abs(resource.limit)
            rows.append(scale * resource.costs[self._offered][None])
            least = least_share * resource.limit - resource.fixed
            low.append(np.array([scale * least if least_share and index == 0 else -np.inf]))
            high.append(np.array([scale * (resource.limit - resource.fixed)]))
        self._rows = np.concatenate(rows).astype(float)
        self._low, self._high = np.concatenate(low), np.concatenate(high)

    def solve(self) -> np.ndarray | None:
        """The best choice not cut off, or None."""
        from scipy import optimize

        # A gap of 0: within HiGHS' own of 1e-4, another network than the most probable one would pass.
        result = optimize.milp(
            -self._gain,
            integrality=np.ones(len(self._gain)),
            bounds=optimize.Bounds(0, 1),
            constraints=optimize.LinearConstraint(self._rows, self._low, self._high),
            options={"mip_rel_gap": 0.0},
        )
        if result.x is None:
            return None
        # The solver's integers are floats close to 0 or 1.
        taken = result.x > 0.5
        choice = np.zeros(self._offered.shape[0], np.int64)
        choice[self._blocks[taken]] = self._candidates[taken]
        return choice

    def cut_off(self, choice: np.ndarray) -> None:
        """Excludes one architecture."""
        row = choice[self._blocks] == self._candidates
        self._rows = np.concatenate([self._rows, row[None].astype(float)])
        self._low = np.append(self._low, -np.inf)
        self._high = np.append(self._high, len(choice) - 1.0)
