"""What a search's end says against its result: alpha that is undecided, a budget that is left unused."""

import numpy as np

# Of the blocks with a choice; more than this share undecided is no decision.
_UNDECIDED_SHARE = 0.5
# A candidate decides its block if it is more probable than all others together.
_DECIDED = 0.5
# What the derived network should use of its budget where no --min_budget_share asks for more.
_USED_SHARE = 0.95


def not_converged(log_p: np.ndarray, offered: np.ndarray) -> dict[str, str]:
    """An entry `not_converged` if alpha is undecided in most blocks that have a choice, else nothing.

    Args:
      log_p: [blocks, candidates]; −inf for absent candidates.
      offered: bool [blocks, candidates]: those that are searched among.
    """
    free = offered.sum(axis=1) > 1
    largest = np.exp(log_p.max(axis=1))[free]
    undecided = int((largest <= _DECIDED).sum())
    if undecided <= _UNDECIDED_SHARE * free.sum():
        return {}
    return {
        "not_converged": f"in {undecided} of {free.sum()} blocks no candidate is more probable than all "
        f"others together (mean of the largest probabilities {largest.mean():.2f}), so the network is little "
        "more than a draw; use more --search_epochs, a smaller --search_alpha_every (for few images 1), a "
        "larger --search_alpha_learning_rate or --gate_mode=full, in another --workdir"
    }


def unused_budget(
    used_ms: float, limit_ms: float, slowest_ms: float, least_share: float, derive: str
) -> dict[str, str]:
    """An entry `unused_budget` if the network leaves much of its latency budget unused, else nothing.

    Args:
      used_ms: what the derived network takes.
      limit_ms: the budget.
      slowest_ms: of all networks that are searched among.
      least_share: what was asked for, as a share of the budget; 0: nothing was.
      derive: the way of deriving.
    """
    wanted = least_share or _USED_SHARE
    share = used_ms / limit_ms
    if share >= wanted * (1 - 1e-6):  # not by the solver's rounding alone
        return {}
    said = f"the network takes {used_ms:.4g} ms, {share:.1%} of the budget of {limit_ms:.4g} ms"
    if least_share:
        said = (
            f"no network uses {least_share:.0%} of the budget or more, as --min_budget_share asks; "
            f"{share:.1%} is used"
        )
    if slowest_ms < wanted * limit_ms:
        advice = (
            f"the slowest network of the space takes {slowest_ms:.4g} ms, so use a larger --space, "
            "--width_multiplier or --resolution, or a lower --target_latency_ms"
        )
    elif least_share:
        advice = "use another --target_latency_ms, or a lower --min_budget_share"
    else:
        floor = "" if derive == "budget" else " with --derive=budget"
        advice = (
            f"a larger network may be more accurate; use --min_budget_share={_USED_SHARE:g}{floor} and "
            "--latency_loss=projected, in another --workdir"
        )
    return {"unused_budget": f"{said}; {advice}"}
