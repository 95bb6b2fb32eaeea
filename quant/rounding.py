"""Least squares and rounding of kernels, in numpy: the arithmetic of `quant.reconstruction`.

A row is what makes one output channel; D is the number of its weights. With H the second
moments of the inputs, an error e of a row's weights costs e·H·eᵀ of squared output error.
"""

import numpy as np

from quant import int8

_SWEEPS = 3
# The share that GPTQ takes (Frantar et al. 2023).
_DAMPING = 0.01  # of H's mean diagonal, so that it can be inverted


def moments(patches: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """H = XᵀX/M and g = Xᵀy/M of a layer's inputs X and wanted outputs y, both centred.

    Args:
      patches: [M, D] for all rows, or [M, D, rows] where each row has its own (depthwise).
      targets: [M, rows].

    Returns:
      ([1, D, D] or [rows, D, D], [rows, D]).
    """
    count = len(patches)
    if patches.ndim == 2:
        return (patches.T @ patches / count)[None], targets.T @ patches / count
    columns = np.ascontiguousarray(patches.transpose(2, 1, 0))
    return (columns @ columns.transpose(0, 2, 1) / count, np.einsum("rdm,mr->rd", columns, targets) / count)


def damped(hessian: np.ndarray, share: float = _DAMPING) -> np.ndarray:
    """H + share · (mean diagonal of H) · I, [.., D, D]."""
    size = hessian.shape[-1]
    mean = np.trace(hessian, axis1=1, axis2=2)[:, None, None] / size
    # The last term is for a layer whose inputs are all 0, where the mean diagonal is 0 too.
    return hessian + (share * mean + 1e-10) * np.eye(size)


def ridge_regression(
    weights: np.ndarray, hessian: np.ndarray, moment: np.ndarray, ridge: float
) -> np.ndarray:
    """The rows of least squared error, held near `weights`.

    Minimises ‖X·wᵀ − y‖²/M + ridge · mean(diag H) · ‖w − weights‖²; all [rows, D].
    """
    # An infinite pull leaves the weights where they are.
    if not np.isfinite(ridge):
        return weights
    system = damped(hessian, ridge)
    # w' = (H + λI)⁻¹ (g + λw), with the λ that `damped` really added.
    strength = (system - hessian)[:, 0, 0][:, None]
    wanted = moment + strength * weights
    if len(system) == 1:  # of all rows: factorized once
        return np.linalg.solve(system[0], wanted.T).T
    return np.linalg.solve(system, wanted[..., None])[..., 0]


def round_with_compensation(weights: np.ndarray, hessian: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Integers q with small (w − s·q) H (w − s·q)ᵀ for every row w.

    One weight after another is rounded, and its error is made up for by the weights not yet
    rounded (Frantar et al. 2023, "GPTQ", which is Hassibi and Stork's optimal brain surgeon
    applied to rounding); `refine` then goes over them again. Never worse than to the nearest.

    Args:
      weights: [rows, D]; one that is ±127 steps stays so, that its row fills the int8 range.
      hessian: [D, D] or [1, D, D] for all rows, or [rows, D, D]; positive definite.
      scales: int8 step of each row, [rows].

    Returns:
      Integers in [−127, 127], [rows, D].
    """
    rows, size = weights.shape
    # One for all rows is inverted once: a matrix for each of a thousand rows would be gigabytes.
    hessian = hessian if hessian.ndim == 3 else hessian[None]
    # The inputs of most power first: their errors can still be made up for by all others.
    order = np.argsort(-np.diagonal(hessian, axis1=1, axis2=2), axis=1)
    sorted_hessian = np.take_along_axis(
        np.take_along_axis(hessian, order[:, :, None], 1), order[:, None, :], 2
    )
    # inverse = upperᵀ · upper
    upper = np.swapaxes(np.linalg.cholesky(np.linalg.inv(sorted_hessian)), 1, 2)
    order = np.broadcast_to(order, (rows, size))
    left = np.take_along_axis(weights.astype(np.float64), order, 1)
    integers = np.zeros((rows, size))
    # GPTQ's algorithm 1, U = upper:  e = (w_i − s·q_i) / U_ii;  w_j ← w_j − e · U_ij for j > i
    for i in range(size):
        integers[:, i] = int8.kernel_integers(left[:, i] / scales)
        error = (left[:, i] - scales * integers[:, i]) / upper[:, i, i]
        left[:, i + 1 :] -= error[:, None] * upper[:, i, i + 1 :]
    result = np.empty_like(integers)
    np.put_along_axis(result, order, integers, 1)
    steps = weights / scales[:, None]
    # Quotients of floats: 127 steps come out as almost 127.
    pinned = np.abs(np.abs(steps) - int8.KERNEL_HIGH) < 1e-6
    nearest = int8.kernel_integers(steps)
    found = [
        refine(weights, start, hessian, scales, pinned)
        for start in (np.where(pinned, nearest, result), nearest)
    ]
    # Greedy may be unlucky; from the nearest integers on it can only get better.
    losses = [_losses(weights - scales[:, None] * q, hessian) for q in found]
    return np.where((losses[0] <= losses[1])[:, None], *found)


def _losses(errors: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """e·H·eᵀ of every row, [rows]."""
    hessian = hessian if hessian.ndim == 3 else hessian[None]
    return ((errors[:, None, :] @ hessian)[:, 0] * errors).sum(axis=1)


def refine(
    weights: np.ndarray,
    integers: np.ndarray,
    hessian: np.ndarray,
    scales: np.ndarray,
    pinned: np.ndarray | bool = False,
    sweeps: int = _SWEEPS,
) -> np.ndarray:
    """Moves one integer after another to its best value given all others; never gets worse.

    Args and result as `round_with_compensation`; those `pinned`, bool [rows, D], stay.
    """
    pinned = np.broadcast_to(pinned, weights.shape)
    result = integers.copy()
    error = weights - scales[:, None] * result
    hessian = hessian if hessian.ndim == 3 else hessian[None]
    pulled = (error[:, None, :] @ hessian)[:, 0]  # e·H, kept up to date
    for i in list(range(weights.shape[1])) * sweeps:
        # d(e·H·eᵀ)/dq_i = 0 at q_i + (e·H)_i / (s · H_ii); the nearest integer is the best one
        best = int8.kernel_integers(result[:, i] + pulled[:, i] / (scales * hessian[:, i, i]))
        moved = np.where(pinned[:, i], 0.0, best - result[:, i])
        result[:, i] += moved
        pulled -= (moved * scales)[:, None] * hessian[:, i]
    return result
