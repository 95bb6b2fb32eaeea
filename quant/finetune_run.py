"""The fine-tuning stage: float model folder in, fake-quantized model folder out.

    float network ── fold batch norm ── equalize channels ── insert fake quantizers ── calibrate ranges
      ── round kernels layer by layer ── fine-tune towards the float network ── round biases ── compare

What comes before the rounding depends on the settings alone and is done again when a run is taken
up; the rounding and the steps after it go on from the last checkpoint.
"""

import dataclasses
import sys
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from nas_tf.base import stopping
from nas_tf.base.checkpoints import RunCheckpoint
from nas_tf.base.clock import Clock
from nas_tf.base.finite import require_finite
from nas_tf.base.progress import Progress
from nas_tf.base.run_folder import FINETUNE, StageFolder
from nas_tf.data.config import NEWER_TRAINING
from nas_tf.data.preprocess import to_network_input
from nas_tf.distribute.shared_run import (
    SharedCheckpoint,
    agree_on_images,
    end_stage,
    ended_summary,
    open_shared_stage,
    shared_log,
)
from nas_tf.distribute.workers import ALONE, Workers, output
from nas_tf.network import model_folder
from nas_tf.train import schedules
from quant import bias, calibration, doubts, ranges, scheme
from quant.calibration import CalibrationImages
from quant.comparison import compare
from quant.distillation import FineTuner, LossShares
from quant.equalization import equalize
from quant.finetune_config import FinetuneConfig
from quant.finetune_job import FinetuneJob, check
from quant.integer_model import simulation
from quant.model import quantized_description
from quant.quantizer_list import kernel_ranges
from quant.reconstruction import reconstruct
from quant.rewrite import Change, rewrite

_RECONSTRUCTION_IMAGES = 320  # whose activations are held in memory, a layer at a time
_SAVE_SECONDS = 20.0  # between checkpoints while layers are rounded
_ADVICE = (
    "use a lower --finetune_learning_rate or fewer --steps in another --workdir, or, if it "
    "happened while rounding, --finetune_rounding=nearest"
)


def run_finetune(workdir: str, config: FinetuneConfig, workers: Workers = ALONE) -> dict[str, Any]:
    """Fine-tunes the float model with fake quantizers; resumes after a kill.

    Args:
      workdir: run folder; the result is `<workdir>/finetune/model`.
      config: what to do.
      workers: the processes that share the steps; all of them call this.

    Returns:
      The summary: float_top1, qat_top1, agreement, snr_db, steps, seconds, model, inserted.

    Raises:
      UserError: no float model, a dataset that does not fit it, or other settings there.
    """
    job = check(workdir, config, workers)
    stage = open_shared_stage(workdir, FINETUNE, job.settings(), NEWER_TRAINING | {"shards": 1}, workers)
    agree_on_images(job.source, config.data.train_split, workers)
    summary = ended_summary(stage, workers)
    if summary is None:
        summary = _finetune(job, stage, workers)
        end_stage(stage, summary, workers)
    return summary


def _finetune(job: FinetuneJob, stage: StageFolder, workers: Workers) -> dict[str, Any]:
    """All of the stage's work but its summary file."""
    clock = Clock()
    size = job.image_size
    images = calibration.read_images(job.source, job.config, *size)
    networks = _quantize(job, images)
    # All that follows is in units of these.
    workers.copy_from_chief([*networks.float_model.weights, *networks.quantized.weights])
    _Training(job, networks, images, stage, clock, workers).run()
    return workers.by_chief(lambda: _finish(job, networks, stage, clock)) or {}


def _finish(job: FinetuneJob, networks: "_Networks", stage: StageFolder, clock: Clock) -> dict[str, Any]:
    """Saves the network and compares it."""
    # As the file will hold them: what is compared below is what will be converted.
    rounded = bias.round_to_grid(networks.quantized)
    model_folder.save_model(stage.model, networks.quantized, quantized_description(job.description))
    return {
        **_compare(job, networks),
        "steps": job.config.steps,
        "seconds": clock.seconds(),
        "model": str(stage.model),
        "bias_rounding_steps": rounded,
        "class_names": job.matching.note,
        "inserted": [dataclasses.asdict(change) for change in networks.changes],
    }


class _Networks(NamedTuple):
    """The network in the forms that fine-tuning works with; layers of one name correspond.

    Attributes:
      float_model: batch norm folded, channels equalized: what `quantized` computes without its
        quantizers, so that ranges and rounding are fitted to its tensors.
      quantized: the same with fake quantizers, their ranges set; the one that is trained.
      gains: layer → gains [channels] by which equalization has multiplied its output.
      changes: what was done to the graph by hand.
      ranges: layer → (minimum, maximum) of its output on the calibration images.
    """

    float_model: keras.Model
    quantized: keras.Model
    gains: dict[str, np.ndarray]
    changes: list[Change]
    ranges: dict[str, tuple[float, float]]


def _quantize(job: FinetuneJob, images: CalibrationImages) -> _Networks:
    """Everything before the first rounded kernel."""
    folded, changes = rewrite(job.float_model)
    # On folded layers: a batch norm subtracts its stored mean, so a gain would not pass through it.
    gains = equalize(folded, images.batches) if job.config.equalize else {}
    quantized, float_model, inserted = scheme.quantize(folded)
    found = ranges.calibrate(float_model, quantized, images.batches, job.config.range_method)
    doubts.require_alive(found)
    return _Networks(float_model, quantized, gains, [*changes, *inserted], found)


class _Training:
    """Rounding and fine-tuning, which a checkpoint takes up where a killed run stopped.

    The checkpoint's count is of layers that were rounded, and beyond them of steps.
    """

    def __init__(
        self,
        job: FinetuneJob,
        networks: _Networks,
        images: CalibrationImages,
        stage: StageFolder,
        clock: Clock,
        workers: Workers,
    ):
        self._job, self._networks, self._images, self._stage = job, networks, images, stage
        self._workers = workers
        # The teacher is the network given: an equalized one clips what calibration did not show.
        teacher, _ = rewrite(job.float_model, snap_borders=False)
        shares = LossShares(job.config.distillation, job.config.features)
        self._tuner = FineTuner(teacher, networks.quantized, shares, networks.gains, job.shards)
        # Of the steps since the last line of the log.
        self._losses = tf.Variable(tf.zeros([self._interval()]), trainable=False)
        self._saved = RunCheckpoint(
            stage.path,
            _ADVICE,
            clock,
            job.config.keep_checkpoints,
            newer=("losses",),
            weights=list(networks.quantized.weights),
            optimizer=self._tuner.optimizer,
            losses=self._losses,
        )
        self._checkpoint = SharedCheckpoint(self._saved, workers, job.shards)
        self._layers = len(kernel_ranges(networks.quantized))

    def run(self) -> None:
        """Does what is left of both."""
        count = self._checkpoint.restore()
        self._checkpoint.require_room()
        with stopping.held_back():
            if count < self._layers and self._job.config.rounding != "nearest":
                # One layer after the other, which is the chief's alone; the others wait for its kernels.
                self._workers.by_chief(lambda: self._round(count))
                self._checkpoint.copy_from_chief()
            done = max(0, count - self._layers)
            if done < self._job.config.steps:
                self._train(done)

    def _round(self, done: int) -> None:
        """Rounds the layers after the first `done`, saving now and then and at the end."""

        def after_layer(count: int) -> None:
            self._saved.after_step(count, count == self._layers, _SAVE_SECONDS)

        inputs, pictures = self._images.spread(_RECONSTRUCTION_IMAGES)
        reconstruct(
            self._networks.float_model,
            self._networks.quantized,
            inputs,
            self._job.config.rounding == "reconstruct",
            done=done,
            after_layer=after_layer,
            pictures=pictures,
        )

    def _train(self, done: int) -> None:
        """Takes the steps after the first `done`; logs and saves at the end of every interval."""
        config, interval = self._job.config, self._interval()
        # The first step in which ranges stay as they are.
        frozen_from = round(config.steps * (1.0 - config.frozen_share))
        steps = range(done, config.steps)
        log = shared_log(self._stage, done // interval, self._workers)
        with Progress(FINETUNE, config.steps, done, output(self._workers)) as progress:
            # Not strict, for the batches never end; `steps` do.
            for step, (images, labels) in zip(steps, self._job.training_batches(done), strict=False):
                if step % interval == 0:
                    self._checkpoint.require_room()
                rate = schedules.cosine(step, config.steps, config.learning_rate)
                place = step % interval
                self._losses[place].assign(self._tuner.step(images, labels, rate, step < frozen_from))
                progress.update(step + 1)
                ends = place + 1 == interval or step + 1 == config.steps
                if ends:
                    loss = float(tf.reduce_mean(self._losses[: place + 1]))
                    # Before the log and the checkpoint, which keep the last good figures.
                    require_finite({"fine-tuning loss": loss}, step, _ADVICE)
                    log.write(step // interval, step=step + 1, loss=loss, learning_rate=rate)
                    progress.note(f"step {step + 1} of {config.steps}", loss=loss)
                seconds = 60 * config.checkpoint_minutes
                self._checkpoint.after_step(self._layers + step + 1, ends, seconds)
        log.close()

    def _interval(self) -> int:
        """Steps between log lines and checkpoints: an epoch, but at least ten a run."""
        return max(1, min(self._job.epoch_steps, self._job.config.steps // 10))


def _compare(job: FinetuneJob, networks: _Networks) -> dict[str, Any]:
    """Top-1 of both networks on the evaluation split, and how their logits differ.

    The float network is the one given, not its equalized form; the quantized one is computed as
    the int8 kernels will.
    """
    integer_model = simulation(networks.quantized)
    reference, logits, labels = [], [], []
    for images, targets in job.evaluation_batches():
        inputs = to_network_input(images)
        reference.append(job.float_model(inputs, training=False).numpy())
        logits.append(integer_model(inputs, training=False).numpy())
        labels.append(targets)
    on_all = tuple(map(np.concatenate, (reference, logits, labels)))
    result = compare(*on_all)
    warning = doubts.warning(networks.ranges, *on_all)
    for text in warning.values():
        print(f"{FINETUNE}: WARNING: {text}", file=sys.stderr, flush=True)
    return {
        "float_top1": result.reference_top1,
        "qat_top1": result.top1,
        "agreement": result.agreement,
        "snr_db": result.snr_db,
        **warning,
    }
