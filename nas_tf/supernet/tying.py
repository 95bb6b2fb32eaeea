"""Candidates that begin as one: tied to the smallest of their block, then set free.

Where each step draws another of 10^17 networks, shared weights begin to learn very late: no two
networks compute anything alike, so what one teaches the layers behind it is noise to the others.
While tied, a block's candidates are one, which learns as fast as a compact network. Freed, each
computes what that one did, with weights of its own (a function-preserving widening: Chen,
Goodfellow and Shlens, "Net2Net", ICLR 2016), so none is ahead of the others.
"""

from collections.abc import Sequence

import numpy as np

from nas_tf.supernet.paths import Path
from nas_tf.supernet.supernet import Supernet
from nas_tf.supernet.widening import smallest

# How far the two copies of a channel are told apart, in standard deviations of the weights
# that read them: equal copies would get equal gradients and stay equal for ever.
_SPLIT = 0.5


def tied(supernet: Supernet, active: Sequence[int]) -> np.ndarray:
    """What runs for `active` while candidates are tied: the smallest one, or ZeroOp."""
    return np.array(
        [
            k if block.paths[int(k)] is None else smallest(block.choice, block.offered)
            for block, k in zip(supernet.blocks, active, strict=True)
        ]
    )


def untie(supernet: Supernet, rng: np.random.Generator) -> None:
    """Gives every candidate weights with which it computes what the smallest of its block does."""
    for block in supernet.blocks:
        if all(path is None for path in block.paths):
            continue  # ZeroOp is all that it offers
        source = block.paths[smallest(block.choice, block.offered)]
        for path in block.paths:
            if path is not None and path is not source:
                _widen(source, path, rng)


def _widen(source: Path, target: Path, rng: np.random.Generator) -> None:
    """Assigns `target` weights and statistics with which it computes what `source` does."""
    weights, statistics = source.kind.chain.unpack, source.kind.chain.unpack_statistics
    own = target.kind.chain.unpack(target.trained)
    target.trained.assign(
        _flat(
            [
                _widened(old.numpy(), new.shape, rng)
                for old, new in zip(weights(source.trained), own, strict=True)
            ]
        )
    )
    moments = target.kind.chain.unpack_statistics(target.statistics)
    target.statistics.assign(
        _flat(
            [
                _repeated(old.numpy(), new.shape)
                for old, new in zip(statistics(source.statistics), moments, strict=True)
            ]
        )
    )


def _widened(weight: np.ndarray, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """A weight for repeated input channels, repeated output channels and a larger kernel."""
    if weight.ndim == 1:
        return _repeated(weight, shape)
    weight = _centred(weight, shape[0])
    if weight.shape[3] == shape[3] == 1:  # depthwise [k, k, channels, 1]
        return np.concatenate(_copies(weight, weight.shape[2], shape[2]), axis=2)
    inputs = len(_copies(weight, weight.shape[2], shape[2]))
    split = np.concatenate(_shares(weight, inputs, rng), axis=2)
    return np.concatenate(_copies(split, weight.shape[3], shape[3]), axis=3)


def _centred(weight: np.ndarray, size: int) -> np.ndarray:
    """The kernel in the middle of one of `size` × `size`, zero around it."""
    # With a larger kernel, SAME padding puts `border` more pixels before the image. So the kernel's
    # middle meets the pixels that the small kernel met, also with stride 2.
    border = (size - weight.shape[0]) // 2
    return np.pad(weight, [(border, border), (border, border), (0, 0), (0, 0)])


def _shares(weight: np.ndarray, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Weights that add up to `weight`, one for each copy of the channels that they read."""
    noise = rng.normal(0.0, _SPLIT * weight.std(), (count, *weight.shape))
    # w_i = w / n + ε_i − mean(ε), so that Σ w_i = w; for n = 1 it is w itself
    return list(weight / count + noise - noise.mean(axis=0))


def _repeated(vector: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    return np.concatenate(_copies(vector, len(vector), shape[0]))


def _copies(array: np.ndarray, old: int, new: int) -> list[np.ndarray]:
    if new % old:
        raise ValueError(f"{new} channels are no multiple of the smallest candidate's {old}.")
    return [array] * (new // old)


def _flat(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays]).astype(np.float32)
