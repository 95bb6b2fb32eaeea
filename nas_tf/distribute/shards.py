"""A step's batch in equal parts, and the sum of what is found on them: the same for any number of processes.

Sums of floating-point numbers depend on their order. Here the order is that of a tree over the parts
alone, so a process may add up its own parts first, and only what is left of each is gathered:

    level by level, while the number of sums is even:  s_0 + s_1, s_2 + s_3, …
    then from left to right:                           (s_0 + s_1) + s_2 …

With W processes, W a power of two, each gathers W vectors; TensorFlow's all-reduce would send less from
four processes on, but adds in an order that depends on their number.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from nas_tf.base import stopping
from nas_tf.base.errors import require
from nas_tf.data.order import Rows
from nas_tf.distribute.workers import ALONE, Workers

Compute = Callable[[Any, Any, int], Any]


class Shards:
    """The parts of a run's batches, and which of them are this process's.

    Args:
      count: a setting of the run: it decides the arithmetic.
      workers: how many processes decides nothing; it divides `count`.
    """

    def __init__(self, count: int, workers: Workers = ALONE):
        require(count >= 1, f"--shards must be at least 1, not {count}.")
        require(
            count % workers.count == 0,
            f"--shards={count} cannot be divided among {workers.count} processes; use a multiple of "
            f"{workers.count}. It is a setting of the run, which may go on with any number of processes that "
            "divides it.",
        )
        self.count, self._workers, self._own = count, workers, count // workers.count
        # Of the latest two sums: what was asked before.
        self._stop: tuple[Any, Any] = (None, None)

    def require_divides(self, batch_size: int, what: str) -> None:
        """Raises `UserError` unless a batch can be cut into equal parts."""
        require(
            batch_size % self.count == 0,
            f"{what} of {batch_size} images cannot be cut into --shards={self.count} equal parts.",
        )

    def rows(self, batch_size: int) -> Rows | None:
        """The rows of a batch that this process reads; None for all."""
        if self._workers.count == 1:
            return None
        size = batch_size // self._workers.count
        return Rows(self._workers.rank * size, size, batch_size)

    def whole(self, own_images: int) -> int:
        """Images of the whole batch of which this process has so many."""
        return own_images * self._workers.count

    def sum(self, compute: Compute, images: Any, labels: Any) -> Any:
        """Σ over all parts of `compute(images, labels, number of the part)`.

        Args:
          compute: gives a vector float32 [n], as long on every part.
          images, labels: this process's rows of the batch.
        """
        first, vectors = self._workers.rank * self._own, []
        parts = zip(tf.split(images, self._own), tf.split(labels, self._own), strict=True)
        # It rides along, so that all processes learn of it after the same step.
        asked = tf.constant([float(stopping.asked())])
        for number, part in enumerate(parts, first):
            vectors.append(tf.concat([compute(*part, number), asked], 0))
        rows = self._workers.gather(tf.stack(_levels(vectors, self._own)))
        left = _levels(tf.unstack(rows), rows.shape[0])
        total = left[0]
        for vector in left[1:]:
            total += vector
        self._stop = (self._stop[1], total[-1])
        return total[:-1]

    def asked_to_stop(self) -> bool:
        """Whether any process was asked to end before the latest sum but one: the same answer in all."""
        # Not of the latest, for which a fast device would have to be waited for.
        return self._stop[0] is not None and float(self._stop[0]) > 0


def own_batches(batch_size: int, workers: Workers) -> Rows | None:
    """Of batches that processes take in turn, the images of this one's; None for all."""
    if workers.count == 1:
        return None
    return Rows(workers.rank * batch_size, batch_size, workers.count * batch_size)


def _levels(vectors: list[Any], count: int) -> list[Any]:
    while count % 2 == 0 and count > 1:
        vectors = [left + right for left, right in zip(vectors[::2], vectors[1::2], strict=True)]
        count //= 2
    return vectors


def pack(tensors: list[Any]) -> Any:
    """Tensors as one vector float32."""
    return tf.concat([tf.reshape(tf.cast(tensor, tf.float32), [-1]) for tensor in tensors], 0)


def unpack(vector: Any, like: list[Any]) -> list[Any]:
    """The opposite of `pack`, by what has the same shapes."""
    sizes = [tensor.shape.num_elements() for tensor in like]
    parts = tf.split(vector, sizes)
    return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, like, strict=True)]
