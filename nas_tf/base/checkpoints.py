"""Checkpoints that hold all that a run needs to go on."""

import contextlib
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from nas_tf.base import files, stopping
from nas_tf.base.checkpoint_files import CheckpointFiles
from nas_tf.base.clock import Clock
from nas_tf.base.errors import UserError, require
from nas_tf.base.finite import require_finite_state
from nas_tf.base.run_folder import KEPT_CHECKPOINTS

FOLDER = "checkpoint"
# Beside the state, a save writes an index and the digests, and a run its log.
_MORE_BYTES = 1 << 20


class RunCheckpoint:
    """Saves and restores a run's state in `<folder>/checkpoint`.

    A save is whole before an older one is removed, so a kill at any moment leaves a whole
    checkpoint, and a power loss too. Each has digests, by which damage is noticed before anything
    is restored; then the one before it is gone back to. A state that is not finite is never saved.

    Args:
      folder: the stage's folder.
      advice: what the user may change if the state is no longer finite.
      clock: the stage's; its time is saved with the state, and restored with it.
      keep: how many checkpoints are kept.
      before_save: called before each save, for state that is not in variables, and for what forbids it.
      newer: names of trackables that checkpoints of earlier versions do not hold; they stay as
        they are where such a one is restored.
      **trackables: everything with state: models, optimizers, `tf.Variable`s,
        `tf.random.Generator`s, `tf.train.experimental.PythonState`s. Optimizers must be
        built (`optimizer.build(variables)`), so that a missing slot is noticed.
    """

    def __init__(
        self,
        folder: str | pathlib.Path,
        advice: str = "use a smaller learning rate",
        clock: Clock | None = None,
        keep: int = KEPT_CHECKPOINTS,
        before_save: Callable[[], object] = lambda: None,
        newer: Sequence[str] = (),
        **trackables: Any,
    ):
        self._folder, self._advice = pathlib.Path(folder) / FOLDER, advice
        self._files, self._keep = CheckpointFiles(self._folder), keep
        self._trackables, self._clock, self._saved_at = trackables, clock or Clock(), time.monotonic()
        self._before_save, self._saved_step = before_save, -1
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False, name="run_step")
        self._seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="seconds")
        self._all = {"run_step": self._step, "seconds": self._seconds, **trackables}
        # Earlier versions' fine-tuning kept no time.
        self._newer = ("seconds", *newer)
        self._checkpoint = tf.train.Checkpoint(**self._all)

    def save(self, step: int) -> None:
        """Saves the state after `step` steps.

        Raises:
          UserError: the state is not finite, or the disk is full or otherwise refuses; what was
            saved before is left as it is.
        """
        # The state after a step is always the same, and a save in the place of one is a risk.
        if step == self._saved_step:
            return
        self._before_save()
        require_finite_state(self._trackables, self._advice)
        self._step.assign(step)
        self._seconds.assign(self._clock.seconds())
        with self._leaving_nothing_of(step):
            self._files.begin(step)
            # `write` does not count, but earlier versions want the count to be there.
            self._checkpoint.save_counter.assign_add(1)
            self._checkpoint.write(str(self._files.prefix(step)))
            self._files.seal(step, self._keep)
        self._saved_at, self._saved_step = time.monotonic(), step

    def bring_up_to_date(self) -> None:
        """Puts state that is not in variables into them, as a save does."""
        self._before_save()

    def variables(self) -> list[tf.Variable]:
        """Everything that a checkpoint holds but its count, step and time, as it stands in variables."""
        return _variables(tf.train.Checkpoint(**self._trackables))

    def due(self, seconds: float) -> bool:
        """Whether that long has passed since the latest save, or since the state was restored."""
        return time.monotonic() - self._saved_at >= seconds

    def after_step(self, step: int, always: bool, seconds: float) -> None:
        """Saves if it must be, is due, or the process was asked to end; then ends it.

        Args:
          step: how many steps are done.
          always: whether to save in any case.
          seconds: that may pass between saves.
        """
        if always or self.due(seconds) or stopping.asked():
            self.save(step)
        stopping.check()

    @contextlib.contextmanager
    def saved_if_stopped(self, step: int) -> Iterator[None]:
        """What is done after a step without moving the state, such as evaluation.

        If the process is asked to end meanwhile, the state is saved.
        """
        try:
            yield
        except stopping.Terminated:
            self.save(step)
            raise

    def require_room(self) -> None:
        """Raises `UserError` if the disk has no room for another checkpoint."""
        latest = next(iter(self._files.steps()), None)
        # Before the first one, by what will be in it.
        size = _size(self._checkpoint) if latest is None else self._files.size(latest)
        needed = size + _MORE_BYTES
        free = self._files.free()
        require(
            free >= needed,
            f"The disk of {str(self._folder)!r} has {free / 1e6:,.1f} MB free, but the next checkpoint "
            f"needs up to {needed / 1e6:,.1f} MB; make room, and the same command goes on.",
        )

    def restore(self) -> int:
        """Restores the latest save that is whole, and says so if a later one is damaged.

        Returns:
          How many steps had been done; 0 if nothing was saved yet.

        Raises:
          UserError: something was saved, but nothing of it can be used; or it is of a different
            network.
        """
        self._saved_at = time.monotonic()
        step = self._latest_whole()
        if step is None:
            return 0
        self._load(str(self._files.prefix(step)))
        self._clock.add_earlier(float(self._seconds.numpy()))
        self._saved_step = int(self._step.numpy())
        return self._saved_step

    def _latest_whole(self) -> int | None:
        """The step to go on from, after setting aside what is damaged behind it."""
        faults: dict[int, str] = {}
        for step in self._files.steps():
            fault = self._files.fault(step)
            if not fault:
                break
            faults[step] = fault
        else:
            lost = "; ".join(faults.values()) or "not even their list"
            require(
                not faults and not self._files.is_unreadable(),
                f"None of the checkpoints in {str(self._folder)!r} can be used, since all are damaged "
                f"({lost}); restore the folder from a copy, or remove it to start over.",
            )
            return None
        if faults:
            self._go_back(step, faults)
        return step

    def _go_back(self, step: int, faults: dict[int, str]) -> None:
        for damaged in faults:
            aside = self._files.set_aside(damaged)
        self._files.forget_list()
        lost = max(faults) - step
        print(
            f"{self._folder.parent.name}: CHECKPOINT DAMAGED: {'; '.join(faults.values())}; going back from "
            f"step {max(faults)} to step {step}, so {lost} step{'s are' if lost != 1 else ' is'} done again "
            f"(the damaged files were moved to {str(aside)!r})",
            file=sys.stderr,
            flush=True,
        )

    def _load(self, path: str) -> None:
        try:
            held = {name.split("/")[0] for name, _ in tf.train.list_variables(path)}
            # A form with more in it does not match a checkpoint that holds less.
            known = {name: t for name, t in self._all.items() if name in held or name not in self._newer}
            tf.train.Checkpoint(**known).restore(path).assert_existing_objects_matched()
        except (AssertionError, ValueError, LookupError, tf.errors.OpError) as error:
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise UserError(
                f"The checkpoint {path!r} does not fit this run or is damaged; "
                f"use another --workdir, or remove {str(self._folder)!r} to start over ({reason})."
            ) from error

    @contextlib.contextmanager
    def _leaving_nothing_of(self, step: int) -> Iterator[None]:
        """A save that fails leaves no part of itself, and says why it failed."""
        try:
            yield
        except (OSError, UserError, tf.errors.OpError) as error:
            with contextlib.suppress(OSError):
                self._files.remove(step)
            if isinstance(error, UserError):
                raise
            raise files.cannot_save(self._files.prefix(step), _as_os_error(error)) from error


def _as_os_error(error: Exception) -> Exception:
    """TensorFlow's `path; No space left on device [[node]] [Op:…]` as the operating system's reason."""
    if isinstance(error, OSError):
        return error
    reason = str(error).split("[Op:")[0].split("; ")[-1].strip().splitlines()
    return OSError(0, reason[0] if reason else type(error).__name__)


def _size(checkpoint: tf.train.Checkpoint) -> int:
    """Bytes of the values that a checkpoint would hold."""
    return sum(v.dtype.size * v.shape.num_elements() for v in _variables(checkpoint))


def _variables(checkpoint: tf.train.Checkpoint) -> list[tf.Variable]:
    tracked = tf.train.TrackableView(checkpoint).descendants()
    return [item for item in tracked if isinstance(item, tf.Variable)]
