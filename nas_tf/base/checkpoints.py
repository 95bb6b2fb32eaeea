"""Checkpoints that hold all that a run needs to go on."""

import pathlib
import time
from typing import Any

import tensorflow as tf

from nas_tf.base import files
from nas_tf.base.clock import Clock
from nas_tf.base.errors import UserError
from nas_tf.base.finite import require_finite_state

FOLDER = "checkpoint"
KEPT = 3  # so that one which turns out to be bad has good ones beside it
# The name under which TensorFlow writes the variable that is tracked as `seconds`.
_SECONDS_KEY = "seconds/.ATTRIBUTES/VARIABLE_VALUE"


class RunCheckpoint:
    """Saves and restores a run's state in `<folder>/checkpoint`.

    A save becomes the latest one in a single rename, and an older one is removed only
    afterwards, so a kill at any moment leaves a whole checkpoint. The last `KEPT` are kept, and
    a state that is not finite is never saved.

    Args:
      folder: the stage's folder.
      advice: what the user may change if the state is no longer finite.
      clock: the stage's; its time is saved with the state, and restored with it.
      **trackables: everything with state: models, optimizers, `tf.Variable`s,
        `tf.random.Generator`s, `tf.train.experimental.PythonState`s. Optimizers must be
        built (`optimizer.build(variables)`), so that a missing slot is noticed.
    """

    def __init__(
        self,
        folder: str | pathlib.Path,
        advice: str = "use a smaller learning rate",
        clock: Clock | None = None,
        **trackables: Any,
    ):
        self._folder, self._advice = pathlib.Path(folder) / FOLDER, advice
        self._trackables, self._clock, self._saved_at = trackables, clock or Clock(), time.monotonic()
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False, name="run_step")
        self._seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="seconds")
        self._checkpoint = tf.train.Checkpoint(run_step=self._step, seconds=self._seconds, **trackables)
        # For checkpoints of earlier versions, whose fine-tuning kept no time.
        self._without_time = tf.train.Checkpoint(run_step=self._step, **trackables)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(self._folder), max_to_keep=KEPT)

    def save(self, step: int) -> None:
        """Saves the state after `step` steps.

        Raises:
          UserError: the state is not finite; what was saved before is left as it is.
        """
        require_finite_state(self._trackables, self._advice)
        files.make_folder(self._folder)
        self._step.assign(step)
        self._seconds.assign(self._clock.seconds())
        self._manager.save(checkpoint_number=step)
        self._saved_at = time.monotonic()

    def due(self, seconds: float) -> bool:
        """Whether that long has passed since the latest save, or since the state was restored."""
        return time.monotonic() - self._saved_at >= seconds

    def restore(self) -> int:
        """Restores the latest save.

        Returns:
          How many steps had been done; 0 if nothing was saved yet.

        Raises:
          UserError: the checkpoint is damaged or of a different network.
        """
        self._saved_at = time.monotonic()
        latest = self._manager.latest_checkpoint
        if latest is None:
            return 0
        try:
            # The form with `seconds` does not match a checkpoint that holds no such value.
            names = {name for name, _ in tf.train.list_variables(latest)}
            checkpoint = self._checkpoint if _SECONDS_KEY in names else self._without_time
            checkpoint.restore(latest).assert_existing_objects_matched()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise UserError(
                f"The checkpoint {latest!r} does not fit this run or is damaged; "
                f"use another --workdir, or remove {str(self._folder)!r} to start over "
                f"({str(error).splitlines()[0]})."
            ) from error
        self._clock.add_earlier(float(self._seconds.numpy()))
        return int(self._step.numpy())
