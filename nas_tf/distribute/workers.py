"""The processes that work on a run, as its steps see them: one alone, or several that are connected."""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TextIO, TypeVar

from nas_tf.base.errors import UserError
from nas_tf.distribute.channel import Channel
from nas_tf.distribute.cluster import Cluster

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(Protocol):
    """What a run asks of its processes. All of them call all of this, in the same order.

    Attributes:
      count: how many there are.
      rank: this one's number; the chief's is 0.
    """

    count: int
    rank: int

    def gather(self, rows: Any) -> Any:
        """float32 [n, size] of each → [count · n, size] of all in the order of their numbers, exactly."""

    def copy_from_chief(self, variables: Sequence[Any]) -> None:
        """Gives variables the chief's values, bit for bit."""

    def chief_says(self, value: Any = None) -> Any:
        """The chief's value, which must survive JSON."""

    def by_chief(self, work: Callable[[], Result]) -> Result | None:
        """What the chief's `work` returns, for which the others wait; None to them."""

    def interrupting(self) -> contextlib.AbstractContextManager[None]:
        """Inside, where this process waits for no other, what ends the run ends the body like SIGTERM."""

    def agree(self, what: str, value: Any, advice: str) -> None:
        """Raises `UserError` in all processes unless all have the same value."""


class Alone:
    """One process, which waits for nobody."""

    count, rank = 1, 0

    def gather(self, rows: Any) -> Any:
        return rows

    def copy_from_chief(self, variables: Sequence[Any]) -> None:
        return None

    def chief_says(self, value: Any = None) -> Any:
        return value

    def by_chief(self, work: Callable[[], Result]) -> Result | None:
        return work()

    def interrupting(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def agree(self, what: str, value: Any, advice: str) -> None:
        return None


ALONE = Alone()


class Connected:
    """One of several processes, connected by TensorFlow's collective operations.

    Args:
      cluster: who takes part.
      channel: for what is said beside the steps.
      strategy: a `tf.distribute.MultiWorkerMirroredStrategy` of one device each.
    """

    def __init__(self, cluster: Cluster, channel: Channel, strategy: Any):
        import tensorflow as tf

        self.count, self.rank, self._channel = cluster.count, cluster.rank, channel

        def collective(call):
            # Variables stay plain and batch norm outside of the strategy's scope: under it Keras would add
            # up gradients by itself, and a save by the chief alone would wait for the others.
            return lambda values: strategy.run(
                lambda v: call(tf.distribute.get_replica_context(), tf.identity(v)), (values,)
            )

        self._gather = tf.function(
            collective(lambda context, v: context.all_gather(v, axis=0)),
            input_signature=[tf.TensorSpec([None, None], tf.float32)],
        )
        self._sum = tf.function(
            collective(lambda context, v: context.all_reduce("SUM", v)),
            input_signature=[tf.TensorSpec([None], tf.float32)],
        )

    def gather(self, rows: Any) -> Any:
        with self._waiting():
            return self._gather(rows)

    def copy_from_chief(self, variables: Sequence[Any]) -> None:
        import tensorflow as tf

        for variable in variables:
            halves = _as_halves(tf.convert_to_tensor(variable))
            with self._waiting():
                halves = self._sum(halves if self.rank == 0 else tf.zeros_like(halves))
            variable.assign(_from_halves(halves, variable.dtype, variable.shape))

    def chief_says(self, value: Any = None) -> Any:
        return self._channel.chief_says(value)

    def by_chief(self, work: Callable[[], Result]) -> Result | None:
        if self.rank:
            return self._channel.wait_for_chief()
        with self.interrupting():
            result = work()
        self._channel.chief_says("done")
        return result

    def interrupting(self) -> contextlib.AbstractContextManager[None]:
        return self._channel.interrupting()

    def agree(self, what: str, value: Any, advice: str) -> None:
        self._channel.agree(what, value, advice)

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """A collective operation that fails because another process did says what that one said."""
        import tensorflow as tf

        self._channel.check()
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
            self._explain(error)

    def _explain(self, error: Exception) -> None:
        # TensorFlow notices a lost connection at once; the channel, too, but perhaps a moment later.
        for _ in range(100):
            self._channel.check()
            time.sleep(0.1)
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"The processes lost each other in a step: {reason}; start the same command again.")


def own_share(items: Iterable[Item], workers: Workers) -> Iterator[Item]:
    """Of items that all processes see, those that fall to this one, in turn."""
    for index, item in enumerate(items):
        if index % workers.count == workers.rank:
            yield item


def output(workers: Workers) -> TextIO | None:
    """Where progress is shown: for the chief where it always is, for the others nowhere."""
    return None if workers.rank == 0 else open(os.devnull, "w", encoding="utf-8")


def digest(variables: Sequence[Any]) -> str:
    """SHA-256 of all values."""
    found = hashlib.sha256()
    for variable in variables:
        found.update(variable.numpy().tobytes())
    return found.hexdigest()


def _as_halves(value: Any) -> Any:
    """The bits of a tensor as whole numbers of 16 bits, float32 [n]: added to zeros they keep every bit.

    Of floats −0 and nan would not, and int32 lies in the host's memory even where a GPU computes.
    """
    import tensorflow as tf

    flat = tf.reshape(value, [-1])
    if value.dtype.size < 4:
        # bool, bfloat16 and the like are held exactly by wider types.
        flat = tf.cast(flat, tf.float32 if value.dtype.is_floating else tf.int32)
    return tf.cast(tf.reshape(tf.bitcast(flat, tf.uint16), [-1]), tf.float32)


def _from_halves(halves: Any, dtype: Any, shape: Any) -> Any:
    """The opposite of `_as_halves`."""
    import tensorflow as tf

    wide = dtype if dtype.size >= 4 else tf.float32 if dtype.is_floating else tf.int32
    bits = tf.reshape(tf.cast(halves, tf.uint16), [-1, wide.size // 2])
    return tf.reshape(tf.cast(tf.bitcast(bits, wide), dtype), shape)
