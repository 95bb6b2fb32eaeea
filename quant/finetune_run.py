"""The fine-tuning stage: float model folder in, fake-quantized model folder out."""

import dataclasses
import pathlib
import time
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from nas_tf.base import run_folder
from nas_tf.base.checkpoints import RunCheckpoint
from nas_tf.base.errors import require
from nas_tf.base.finite import require_finite
from nas_tf.base.metric_log import MetricLog
from nas_tf.base.progress import Progress
from nas_tf.data import batches as data_batches
from nas_tf.data.class_names import ClassList, match_dataset
from nas_tf.data.opening import open_config
from nas_tf.data.overview import check_disjoint
from nas_tf.data.preprocess import to_network_input
from nas_tf.data.sources import ImageSource
from nas_tf.network import model_folder
from nas_tf.train import schedules
from quant import bias, calibration, ranges, scheme
from quant.comparison import compare
from quant.distillation import FineTuner, LossShares
from quant.equalization import equalize
from quant.finetune_config import FinetuneConfig
from quant.integer_model import simulation
from quant.model import quantized_description
from quant.quantizer_list import kernel_ranges
from quant.reconstruction import reconstruct
from quant.rewrite import rewrite

STAGE = "finetune"
MODEL_FOLDER = "model"
_MAX_BATCH = 64
_RECONSTRUCTION_IMAGES = 320  # whose activations are held in memory, a layer at a time
_SAVE_SECONDS = 20.0  # between checkpoints while layers are rounded
_ADVICE = (
    "use a lower --finetune_learning_rate or fewer --steps in another --workdir, or, if it "
    "happened while rounding, --finetune_rounding=nearest"
)


def run_finetune(workdir: str, config: FinetuneConfig) -> dict[str, Any]:
    """Fine-tunes the float model with fake quantizers; resumes after a kill.

    Args:
      workdir: run folder; the result is `<workdir>/finetune/model`.
      config: what to do.

    Returns:
      The summary: float_top1, qat_top1, agreement, snr_db, steps, seconds, model, inserted.

    Raises:
      UserError: no float model, a dataset that does not fit it, or other settings there.
    """
    source_folder = config.model or str(pathlib.Path(workdir) / "train" / "model")
    float_model, description = model_folder.load_float_model(source_folder)
    source = open_config(config.data)
    require(
        source.num_classes == description.num_classes,
        f"The model in {source_folder!r} has {description.num_classes} classes, but the "
        f"dataset {config.data.dataset!r} has {source.num_classes}"
        + (
            ", one less: if the model's first is background, import it again with --background=first."
            if description.num_classes == source.num_classes + 1
            else "."
        ),
    )
    eval_split = source.evaluation_split(config.data.eval_split)
    check_disjoint(source, ("train_split", config.data.train_split), ("eval_split", eval_split))
    matching = match_dataset(
        ClassList(f"model {source_folder!r}", description.labels, description.named),
        source,
        config.data.class_names,
    )
    require(
        config.data.resize_size in (0, description.resize_size),
        f"--resize_size={config.data.resize_size} is not what the model in {source_folder!r} "
        f"was made with: {description.resize_size}.",
    )
    # The model by what it is and not by its path, which may change between runs.
    settings = dataclasses.asdict(config) | {
        "model": model_folder.digest(source_folder),
        "data": config.data.identity(),
    }
    settings["data"]["resize_size"] = description.resize_size
    stage = run_folder.open_stage(workdir, STAGE, settings)
    if (summary := stage.summary()) is not None:
        return summary
    began = time.monotonic()
    run = _Run(stage, config, source, description, float_model, matching.order)
    run.train()
    rounded = bias.round_to_grid(run.qat_model)
    target = stage.path / MODEL_FOLDER
    model_folder.save_model(target, run.qat_model, quantized_description(description))
    summary = {
        **run.evaluate(),
        "steps": config.steps,
        "seconds": time.monotonic() - began,
        "model": str(target),
        "bias_rounding_steps": rounded,
        "class_names": matching.note,
        "inserted": [dataclasses.asdict(change) for change in run.changes],
    }
    stage.write_summary(summary)
    return summary


class _Run:
    """State of one run: models, checkpoint, metrics."""

    def __init__(
        self,
        stage,
        config: FinetuneConfig,
        source: ImageSource,
        description,
        float_model: keras.Model,
        order: tuple[int, ...],
    ):
        # The model's class of each of the dataset's: the network keeps its own order.
        self._order = np.array(order, np.int64)
        self._config, self._source, self._stage = config, source, stage
        self._size = (description.resolution, description.resize_size)
        self._given_model = float_model
        self._images = calibration.read_images(source, config, *self._size)
        folded, changes = rewrite(float_model)
        gains = equalize(folded, self._images.batches) if config.equalize else {}
        self.qat_model, self._float_model, inserted = scheme.quantize(folded)
        self.changes = [*changes, *inserted]
        ranges.calibrate(self._float_model, self.qat_model, self._images.batches, config.range_method)
        # The teacher is the network given: an equalized one clips what calibration did not show.
        teacher, _ = rewrite(float_model, snap_borders=False)
        self._tuner = FineTuner(
            teacher, self.qat_model, LossShares(config.distillation, config.features), gains
        )
        # Counts the layers that were rounded, and then the steps.
        self._checkpoint = RunCheckpoint(
            stage.path, _ADVICE, weights=list(self.qat_model.weights), optimizer=self._tuner.optimizer
        )
        self._layers = len(kernel_ranges(self.qat_model))

    def train(self) -> None:
        """Rounds and trains, or goes on from the last checkpoint."""
        config = self._config
        count = self._checkpoint.restore()
        if count < self._layers and config.rounding != "nearest":
            self._round(count)
        done = max(0, count - self._layers)
        if done >= config.steps:
            return
        interval = self._interval()
        log = MetricLog(self._stage.path, done // interval)
        frozen_from = round(config.steps * (1.0 - config.frozen_share))
        losses = []
        with Progress(STAGE, config.steps, done) as progress:
            for step, (images, labels) in zip(range(done, config.steps), self._batches(done), strict=False):
                rate = schedules.cosine(step, config.steps, config.learning_rate)
                losses.append(self._tuner.step(images, labels, rate, step < frozen_from))
                progress.update(step + 1)
                if (step + 1) % interval == 0 or step + 1 == config.steps:
                    loss = float(tf.reduce_mean(losses))
                    require_finite({"fine-tuning loss": loss}, step, _ADVICE)
                    log.write(step // interval, step=step + 1, loss=loss, learning_rate=rate)
                    progress.note(f"step {step + 1} of {config.steps}", loss=loss)
                    losses.clear()
                    self._checkpoint.save(self._layers + step + 1)
        log.close()

    def _round(self, done: int) -> None:
        """Rounds the layers after the first `done`, saving now and then and at the end."""
        saved = time.monotonic()

        def after_layer(count: int) -> None:
            nonlocal saved
            if count == self._layers or time.monotonic() - saved > _SAVE_SECONDS:
                self._checkpoint.save(count)
                saved = time.monotonic()

        images, pictures = self._images.spread(_RECONSTRUCTION_IMAGES)
        reconstruct(
            self._float_model,
            self.qat_model,
            images,
            self._config.rounding == "reconstruct",
            done=done,
            after_layer=after_layer,
            pictures=pictures,
        )

    def evaluate(self) -> dict[str, float]:
        """Top-1 of both networks on the evaluation split, and how their logits differ.

        The float network is the one given, not its equalized form; the quantized one is
        computed as the int8 kernels will.
        """
        split = self._source.evaluation_split(self._config.data.eval_split)
        dataset = data_batches.evaluation_batches(self._source, split, _MAX_BATCH, *self._size)
        quantized = simulation(self.qat_model)
        reference, logits, labels = [], [], []
        for images, targets in data_batches.readable(self._source, dataset):
            inputs = to_network_input(images)
            reference.append(self._given_model(inputs, training=False).numpy())
            logits.append(quantized(inputs, training=False).numpy())
            labels.append(self._order[targets.numpy()])
        result = compare(*map(np.concatenate, (reference, logits, labels)))
        return {
            "float_top1": result.reference_top1,
            "qat_top1": result.top1,
            "agreement": result.agreement,
            "snr_db": result.snr_db,
        }

    def _batches(self, start_step: int):
        config = self._config
        dataset = data_batches.training_batches(
            self._source,
            config.data.train_split,
            config.batch_size,
            self._size[0],
            config.augmentation,
            config.seed,
            start_step,
            resize_size=self._size[1],
        )
        dataset = dataset.map(lambda images, labels: (images, tf.gather(self._order, labels)))
        return data_batches.readable(self._source, dataset)

    def _interval(self) -> int:
        """Steps between log lines and checkpoints: an epoch, but at least ten a run."""
        config = self._config
        epoch = schedules.steps_per_epoch(self._source.part_size(config.data.train_split), config.batch_size)
        return max(1, min(epoch, config.steps // 10))
