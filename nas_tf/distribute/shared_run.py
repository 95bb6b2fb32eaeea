"""A stage's folder, log and checkpoints where several processes work: the chief alone writes."""

import contextlib
from collections.abc import Iterator
from typing import Any

from nas_tf.base import stopping
from nas_tf.base.checkpoints import RunCheckpoint
from nas_tf.base.metric_log import MetricLog
from nas_tf.base.run_folder import RunFolder, StageFolder, open_stage
from nas_tf.data.sources import ImageSource
from nas_tf.distribute.shards import Shards
from nas_tf.distribute.workers import Workers, digest

_SAMPLE = 8  # images by which processes see that they read the same


def open_shared_stage(
    workdir: str, stage: str, settings: dict[str, Any], newer: dict[str, Any], workers: Workers
) -> StageFolder:
    """`open_stage` by the chief; refuses others whose settings differ from the chief's."""
    if workers.rank:
        folder = RunFolder(workdir).stage(stage)
    else:
        folder = open_stage(workdir, stage, settings, newer)
    workers.agree("setting", settings, "give all processes the same flags")
    return folder


def agree_on_images(source: ImageSource, split: str, workers: Workers) -> None:
    """Refuses processes that read other images than the chief."""
    if workers.count > 1:
        examples = source.examples(split).take(_SAMPLE)
        facts = {
            "labels": list(source.labels),
            "images": source.part_size(split),
            "first images": [[image.numpy().sum().item(), int(label)] for image, label in examples],
        }
        workers.agree("data", facts, "give all processes the same images")


def ended_summary(stage: StageFolder, workers: Workers) -> dict[str, Any] | None:
    """The summary of a stage that has ended, as the chief finds it."""
    return workers.chief_says(stage.summary() if workers.rank == 0 else None)


def end_stage(stage: StageFolder, summary: dict[str, Any], workers: Workers) -> None:
    """Marks the stage as ended before any process goes on, who may read of it."""
    workers.by_chief(lambda: stage.write_summary(summary))


class NoLog:
    """Stands for the log in processes that write none."""

    def write(self, epoch: int, **values: Any) -> None:
        """Nothing."""

    def lacks_epoch_before(self, step: int, epoch_steps: int) -> bool:
        """Nobody asks but the chief."""
        return False

    def close(self) -> None:
        """Nothing."""


def shared_log(stage: StageFolder, resume_epoch: int, workers: Workers) -> MetricLog | NoLog:
    """The stage's log, in the chief."""
    return NoLog() if workers.rank else MetricLog(stage.path, resume_epoch=resume_epoch)


class SharedCheckpoint:
    """`RunCheckpoint` of several processes: one saves, all go on from what it restored.

    Args:
      checkpoint: made alike in all processes; only the chief's is ever written or read.
    """

    def __init__(self, checkpoint: RunCheckpoint, workers: Workers, shards: Shards):
        self._checkpoint, self._workers, self._shards = checkpoint, workers, shards

    def restore(self) -> int:
        """As of `RunCheckpoint`; the others get the state from the chief."""
        step = self._workers.chief_says(0 if self._workers.rank else self._checkpoint.restore())
        self.copy_from_chief()
        return step

    def copy_from_chief(self) -> None:
        """Gives all processes the chief's state."""
        if self._workers.count > 1:
            self._workers.copy_from_chief(self._checkpoint.variables())

    def require_room(self) -> None:
        """As of `RunCheckpoint`, where it saves."""
        if self._workers.rank == 0:
            self._checkpoint.require_room()

    def after_step(self, step: int, always: bool, seconds: float) -> None:
        """As of `RunCheckpoint`; if one process was asked to end, all do after the same step."""
        if self._workers.count == 1:
            self._checkpoint.after_step(step, always, seconds)
            return
        if always:
            self._require_equal(step)
        stop = self._shards.asked_to_stop()
        # Others that are done with the step wait for the chief in the next one.
        if self._workers.rank == 0 and (always or stop or self._checkpoint.due(seconds)):
            self._checkpoint.save(step)
        if stop:
            raise stopping.Terminated

    @contextlib.contextmanager
    def saved_if_stopped(self, step: int) -> Iterator[None]:
        """As of `RunCheckpoint`, where it saves."""
        if self._workers.rank:
            yield
        else:
            with self._checkpoint.saved_if_stopped(step):
                yield

    def _require_equal(self, step: int) -> None:
        self._checkpoint.bring_up_to_date()
        self._workers.agree(
            f"state after {step} steps",
            digest(self._checkpoint.variables()),
            "the processes have computed different things, which equal machines and versions do not; "
            "nothing of it was saved",
        )
