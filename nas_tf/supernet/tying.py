"""Candidates that begin as one: tied to a smaller one of their block, then set free.

Where each step draws another of 10^17 networks, shared weights begin to learn very late: no two
networks compute anything alike, so what one teaches the layers behind it is noise to the others.
While tied, a block's candidates of one form are one, which learns as fast as a compact network. Freed,
each computes what that one did, with weights of its own (a function-preserving widening: Chen,
Goodfellow and Shlens, "Net2Net", ICLR 2016), so none is ahead of the others of its form.
"""

from collections.abc import Sequence

import numpy as np

from nas_tf.supernet.paths import Path
from nas_tf.supernet.supernet import Supernet
from nas_tf.supernet.widening import beginnings

# How far the copies of a channel are told apart, in standard deviations of the weights
# that read them: equal copies would get equal gradients and stay equal for ever.
_SPLIT = 0.5


def tied(supernet: Supernet, active: Sequence[int]) -> np.ndarray:
    """What runs for `active` while candidates are tied: what they begin as, or ZeroOp."""
    return np.array(
        [
            beginnings(block.choice, block.offered).get(int(k), int(k))
            for block, k in zip(supernet.blocks, active, strict=True)
        ]
    )


def untie(supernet: Supernet, rng: np.random.Generator) -> None:
    """Gives every candidate weights with which it computes what it began as."""
    for block in supernet.blocks:
        for target, source in beginnings(block.choice, block.offered).items():
            if target != source:
                _widen(block.paths[source], block.paths[target], rng)


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
        return _copied(weight, shape[2], axis=2)
    return _copied(_shared_out(weight, shape[2], rng), shape[3], axis=3)


def _centred(weight: np.ndarray, size: int) -> np.ndarray:
    """The kernel in the middle of one of `size` × `size`, zero around it."""
    # With a larger kernel, SAME padding puts `border` more pixels before the image. So the kernel's
    # middle meets the pixels that the small kernel met, also with stride 2.
    border = (size - weight.shape[0]) // 2
    return np.pad(weight, [(border, border), (border, border), (0, 0), (0, 0)])


def _shared_out(weight: np.ndarray, inputs: int, rng: np.random.Generator) -> np.ndarray:
    """Weights for repeated inputs: those that read copies of a channel add up to its weight."""
    old = weight.shape[2]
    rounds = -(-inputs // old)
    noise = rng.normal(0.0, _SPLIT * weight.std(), (rounds, *weight.shape))
    # Channel i is copied n_i times: as often as there are rounds, or once less.
    present = np.arange(rounds * old).reshape(rounds, 1, 1, old, 1) < inputs
    copies = present.sum(axis=0)
    # w_i = w / n + ε_i − mean(ε), so that Σ w_i = w; for n = 1 it is w itself
    shares = weight / copies + noise - (noise * present).sum(axis=0) / copies
    return np.concatenate(list(shares), axis=2)[:, :, :inputs]


def _repeated(vector: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    return _copied(vector, shape[0], axis=0)


def _copied(array: np.ndarray, new: int, axis: int) -> np.ndarray:
    """Its channels again and again, until there are `new`."""
    return np.take(array, np.arange(new) % array.shape[axis], axis=axis)


def _flat(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays]).astype(np.float32)
