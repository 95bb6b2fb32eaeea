"""What a convolution is fitted to: its inputs and wanted outputs at some output positions.

A position is one place of one image's output. Thousands of them say enough of a layer, and all of
them (a million for the first layers) would not fit in memory.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from quant.layer_walk import CHUNK
from quant.quantizer_list import KernelRange

_POSITIONS = 12000
_DEPTHWISE_POSITIONS = 4000  # each channel has weights of its own, and k·k of them only
_HELD_OUT = 4  # one image in so many is held out


@dataclasses.dataclass(frozen=True)
class Samples:
    """Inputs and wanted outputs of a layer at M output positions.

    Attributes:
      patches: the D inputs that each output is a sum over, float64 [M, D]; [M, D, channels] for a
        depthwise layer, whose outputs read one channel each.
      targets: float64 [M, outputs].
    """

    patches: np.ndarray
    targets: np.ndarray

    def at(self, chosen: np.ndarray) -> "Samples":
        """Those at the positions `chosen`, bool [M]."""
        return Samples(self.patches[chosen], self.targets[chosen])


def draw_positions(
    kernel: KernelRange, shape: tuple[int, ...], random: np.random.Generator
) -> list[np.ndarray]:
    """Ascending random output positions in each chunk of images, for outputs of `shape`."""
    total = _DEPTHWISE_POSITIONS if kernel.is_depthwise else _POSITIONS
    per_chunk = -(-total // len(range(0, shape[0], CHUNK)))
    counts = (size * shape[1] * shape[2] for _, size in _chunks(shape[0]))
    return [np.sort(random.permutation(count)[:per_chunk]) for count in counts]


def take(kernel: KernelRange, given: np.ndarray, wanted: np.ndarray, positions: list[np.ndarray]) -> Samples:
    """The samples of a convolution at these positions of each chunk of images.

    Args:
      kernel: of the convolution.
      given: its inputs [N,H,W,C].
      wanted: what it should make of them, [N,h,w,outputs].
      positions: from `draw_positions`.
    """
    layer = kernel.layer.layer
    height, width = kernel.kernel.shape[:2]
    patches, targets = [], []
    for (start, size), chosen in zip(_chunks(len(given)), positions, strict=True):
        found = tf.image.extract_patches(
            given[start : start + size],
            [1, height, width, 1],
            [1, *layer.strides, 1],
            [1, 1, 1, 1],
            layer.padding.upper(),
        )
        # `extract_patches` orders a patch as [height, width, channel], and so does `kernel_layout.as_rows`.
        found = tf.reshape(found, [-1, found.shape[-1]])
        patches.append(tf.gather(found, chosen).numpy())
        targets.append(wanted[start : start + size].reshape(-1, wanted.shape[-1])[chosen])
    # float64: least squares sums products over thousands of positions and then inverts the result.
    joined = np.concatenate(patches).astype(np.float64)
    if kernel.is_depthwise:
        joined = joined.reshape(len(joined), height * width, -1)
    return Samples(joined, np.concatenate(targets).astype(np.float64))


def held_out(pictures: np.ndarray) -> np.ndarray:
    """Which inputs decide and are not fitted to, bool [N]: all views of every fourth image.

    Args:
      pictures: whole numbers [N], equal for views of one image.
    """
    _, first, number = np.unique(pictures, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))  # of the images, by appearance
    return order[number] % _HELD_OUT == _HELD_OUT - 1


def judges(held: np.ndarray, positions: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Which of the drawn positions are of images `held`, bool [M]."""
    per_image = shape[1] * shape[2]
    chunks = zip(_chunks(shape[0]), positions, strict=True)
    # Positions count through a chunk's images, each of which has h · w of them.
    found = np.concatenate([held[start + chosen // per_image] for (start, _), chosen in chunks])
    if not found.any():  # fewer images than can be spared: the last positions
        found[len(found) - len(found) // _HELD_OUT :] = True
    return found


def _chunks(num_images: int) -> Iterator[tuple[int, int]]:
    """(first image, images) of each chunk."""
    for start in range(0, num_images, CHUNK):
        yield start, min(CHUNK, num_images - start)
