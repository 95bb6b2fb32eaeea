"""The training stage: from an architecture and images to a float model."""

import dataclasses
import sys
from typing import Any

import tensorflow as tf
import tf_keras as keras

from nas_tf.base import files, stopping
from nas_tf.base.checkpoints import RunCheckpoint
from nas_tf.base.clock import Clock
from nas_tf.base.errors import require
from nas_tf.base.metric_log import MetricLog
from nas_tf.base.progress import LOOK_EVERY, Progress
from nas_tf.base.run_folder import TRAIN, RunFolder, StageFolder
from nas_tf.data import batches
from nas_tf.data import config as data_config
from nas_tf.data.class_names import ClassList, Matching, match_dataset
from nas_tf.data.opening import open_config
from nas_tf.data.overview import check_disjoint
from nas_tf.data.sources import ImageSource
from nas_tf.distribute.shards import Shards, own_batches
from nas_tf.distribute.shared_run import (
    NoLog,
    SharedCheckpoint,
    agree_on_images,
    end_stage,
    ended_summary,
    open_shared_stage,
    shared_log,
)
from nas_tf.distribute.workers import ALONE, Workers, output
from nas_tf.network.build import build_network
from nas_tf.network.model_folder import ModelDescription, load_float_model, read_description, save_model
from nas_tf.space.architecture import Architecture, from_json
from nas_tf.space.published import read_architecture
from nas_tf.train import chance, precision
from nas_tf.train.accuracy import AccuracyCounter
from nas_tf.train.config import TrainConfig, check_settings
from nas_tf.train.counting import sum_counts
from nas_tf.train.schedules import cosine, steps_per_epoch
from nas_tf.train.weight_trainer import ADVICE, WeightTrainer

_ACCURACY = "evaluation top-1"
_LEARN_MORE = "use more --epochs, or another --learning_rate, in another --workdir"


@dataclasses.dataclass(frozen=True)
class _Job:
    """A checked training run.

    Attributes:
      steps_per_epoch, total_steps: optimizer steps.
      matching: which of the initial model's classes is which of the dataset's; None without one.
      workers, shards: the processes, and how they share a step.
    """

    config: TrainConfig
    source: ImageSource
    eval_split: str
    size: batches.ImageSize
    architecture: Architecture
    steps_per_epoch: int
    matching: Matching | None
    workers: Workers
    shards: Shards

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.config.epochs

    def learning_rate(self, step: int) -> float:
        """The rate of a 0-based step."""
        warmup = round(self.config.warmup_epochs * self.steps_per_epoch)
        return cosine(step, self.total_steps, self.config.learning_rate, warmup)

    def training_batches(self, start_step: int) -> tf.data.Dataset:
        """Batches from a step on."""
        config = self.config
        return batches.training_batches(
            self.source,
            config.data.train_split,
            config.batch_size,
            self.size.resolution,
            config.augmentation,
            config.seed,
            start_step,
            self.size.resize_size,
            self.shards.rows(config.batch_size),
        )

    def evaluation_batches(self) -> tf.data.Dataset:
        """Of the evaluation split what this process judges, once."""
        batch_size, size = self.config.batch_size, self.size
        return batches.evaluation_batches(
            self.source,
            self.eval_split,
            batch_size,
            size.resolution,
            size.resize_size,
            rows=own_batches(batch_size, self.workers),
        )


def run_train(workdir: str, config: TrainConfig, workers: Workers = ALONE) -> dict[str, Any]:
    """Trains the network, or goes on where a killed run stopped.

    Args:
      workdir: run folder, which all processes have to see.
      config: what to do.
      workers: the processes that share the work; all of them call this.

    Returns:
      The summary: `top1`, `top5` (shares) on the evaluation split, `epochs`, `seconds`, …

    Raises:
      UserError: bad settings, unusable images, or a folder that holds another run.
    """
    job = _check(workdir, config, workers)
    stage = open_shared_stage(workdir, TRAIN, _settings(job), _newer(job), workers)
    agree_on_images(job.source, config.data.train_split, workers)
    summary = ended_summary(stage, workers)
    if summary is None:
        clock = Clock()
        with precision.policy(config.weights.mixed_precision):
            trainer = _trainer(job)
            _train(job, trainer, stage, clock)
            summary = _finish(job, trainer, stage) | {"seconds": clock.seconds()}
        end_stage(stage, summary, workers)
    return summary


def find_architecture(workdir: str, value: str, width_multiplier: float) -> Architecture:
    """The architecture of a flag, scaled; or the search's result in the run folder, as it is."""
    if value:
        return read_architecture(value).scaled(width_multiplier)
    path = RunFolder(workdir).searched_architecture
    require(
        path.is_file(),
        f"--architecture is not given and {str(path)!r} does not exist; "
        "run nas_tf.search with this --workdir first, or name an architecture.",
    )
    return from_json(files.read_json(path, "architecture"), f"architecture {str(path)!r}")


def _check(workdir: str, config: TrainConfig, workers: Workers) -> _Job:
    check_settings(config)
    shards = Shards(config.shards, workers)
    shards.require_divides(config.batch_size, "--batch_size")
    architecture = find_architecture(workdir, config.architecture, config.width_multiplier)
    source = open_config(config.data)
    # Before the stage holds these settings: other flags may be what a refusal asks for.
    matching = match_initial(config, source) if config.initial_model else None
    eval_split = source.evaluation_split(config.data.eval_split)
    # For its refusal of a split without images, which evaluation would meet only after the first
    # epoch.
    source.part_size(eval_split)
    check_disjoint(source, ("train_split", config.data.train_split), ("eval_split", eval_split))
    steps = steps_per_epoch(source.part_size(config.data.train_split), config.batch_size)
    size = batches.image_size(source, config.resolution, config.data.resize_size)
    return _Job(config, source, eval_split, size, architecture, steps, matching, workers, shards)


def _settings(job: _Job) -> dict[str, Any]:
    """What decides the outcome; where the data lies and how often to save do not."""
    settings = dataclasses.asdict(job.config)
    settings["data"] = job.config.data.identity()
    del settings["checkpoint_minutes"], settings["keep_checkpoints"]
    settings |= {
        "architecture": job.architecture.to_json(),
        "eval_split": job.eval_split,
        "num_classes": job.source.num_classes,
        "steps_per_epoch": job.steps_per_epoch,
    }
    return settings


def _newer(job: _Job) -> dict[str, Any]:
    """Settings that runs of earlier versions do not hold, at what they meant.

    A block's shortcut was not written: its shape decided.
    """
    blocks = tuple(dataclasses.replace(block, shortcut=None) for block in job.architecture.blocks)
    decided = dataclasses.replace(job.architecture, blocks=blocks).blocks
    shortcuts = {f"architecture.blocks.{index}.shortcut": b.shortcut for index, b in enumerate(decided)}
    return data_config.NEWER_TRAINING | shortcuts | {"shards": 1}


def _trainer(job: _Job) -> WeightTrainer:
    config = job.config
    # For initial weights alone: order, views and dropout are drawn from (seed, step).
    keras.utils.set_random_seed(config.seed)
    model = build_network(job.architecture, config.resolution, job.source.num_classes)
    if config.initial_model:
        _start_from(config.initial_model, model, job)
    return WeightTrainer(model, config.weights, config.seed, job.shards)


def match_initial(config: TrainConfig, source: ImageSource) -> Matching:
    """Which of the initial model's classes is which of the dataset's."""
    folder, description = config.initial_model, read_description(config.initial_model)
    require(
        description.num_classes == source.num_classes,
        f"--initial_model={folder!r} has {description.num_classes} classes, but dataset "
        f"{source.name!r} has {source.num_classes}.",
    )
    model = ClassList(f"model {folder!r} (--initial_model)", description.labels, description.named)
    return match_dataset(model, source, config.data.class_names)


def _start_from(folder: str, model: keras.Model, job: _Job) -> None:
    initial, description = load_float_model(folder)
    require(
        description.architecture == job.architecture,
        f"--initial_model={folder!r} has the architecture "
        f"{description.architecture.to_string()!r}, not {job.architecture.to_string()!r}.",
    )
    model.set_weights(initial.get_weights())
    for variable in model.get_layer("logits").weights:
        # The network's classes are the dataset's, in its order.
        variable.assign(tf.gather(variable, job.matching.order, axis=-1))
    print(f"classes of --initial_model: {job.matching.note}", file=sys.stderr)


def _train(job: _Job, trainer: WeightTrainer, stage: StageFolder, clock: Clock) -> None:
    """Runs the steps that are left."""
    config, epoch_steps = job.config, job.steps_per_epoch
    saved = RunCheckpoint(
        stage.path,
        ADVICE,
        clock,
        config.keep_checkpoints,
        # Of a loss that is not finite, and was not looked at yet, it says so itself.
        before_save=trainer.figures,
        **trainer.trackables(),
    )
    checkpoint = SharedCheckpoint(saved, job.workers, job.shards)
    start = checkpoint.restore()
    log = shared_log(stage, start // epoch_steps, job.workers)
    images = batches.readable(job.source, batches.on_device(job.training_batches(start)))
    shown_on = output(job.workers)
    with stopping.held_back(), Progress(TRAIN, job.total_steps, start, shown_on) as progress:
        if job.workers.chief_says(log.lacks_epoch_before(start, epoch_steps)):
            with checkpoint.saved_if_stopped(start):
                _end_epoch(job, trainer, log, progress, start)
        for step in range(start, job.total_steps):
            if step == start or step % epoch_steps == 0:
                checkpoint.require_room()
            if step % epoch_steps == 0:
                trainer.begin_epoch()
            trainer.step(*next(images), step, job.learning_rate(step))
            done = step + 1
            shown = trainer.figures() if done % LOOK_EVERY == 0 else {}
            progress.update(done, **shown)
            if done % epoch_steps == 0:
                with checkpoint.saved_if_stopped(done):
                    _end_epoch(job, trainer, log, progress, done)
            # After the epoch's line: what a kill in between leaves of it is dropped and written again.
            checkpoint.after_step(done, done % epoch_steps == 0, 60 * config.checkpoint_minutes)
    log.close()


def _end_epoch(
    job: _Job, trainer: WeightTrainer, log: MetricLog | NoLog, progress: Progress, done: int
) -> None:
    epoch = done // job.steps_per_epoch - 1
    figures = trainer.figures()
    if (epoch + 1) % job.config.eval_every == 0 or done == job.total_steps:
        # Judged with the weights that are saved in the end.
        with trainer.averaged():
            accuracy = _evaluate(job, trainer)
        # Of the first epoch, the mean begins at random weights.
        if epoch or job.config.epochs == 1:
            chance.require_no_divergence(_ACCURACY, accuracy, figures["loss"], ADVICE)
        figures["eval_top1"] = accuracy.top1
    log.write(epoch, **figures, learning_rate=job.learning_rate(done - 1))
    progress.note(f"epoch {epoch + 1}/{job.config.epochs}", **figures)


def _evaluate(job: _Job, trainer: WeightTrainer) -> AccuracyCounter:
    """Accuracy on the evaluation split, of which each process judges its share."""
    images = stopping.watched(batches.readable(job.source, batches.on_device(job.evaluation_batches())))
    return sum_counts(trainer.evaluate(images), job.source.num_classes, job.workers)


def _finish(job: _Job, trainer: WeightTrainer, stage: StageFolder) -> dict[str, Any]:
    config, source = job.config, job.source
    with trainer.averaged():
        accuracy = _evaluate(job, trainer)
        if job.workers.rank:
            return {}
        save_model(
            stage.model,
            trainer.model,
            ModelDescription(
                "float",
                job.architecture,
                job.size.resolution,
                source.num_classes,
                source.labels,
                job.size.resize_size,
                named=source.named,
            ),
        )
    warning = chance.warning(_ACCURACY, accuracy, _LEARN_MORE)
    for text in warning.values():
        print(f"{TRAIN}: WARNING: {text}", file=sys.stderr, flush=True)
    return {
        "top1": accuracy.top1,
        "top5": accuracy.top5,
        "epochs": config.epochs,
        "steps": job.total_steps,
        "model": str(stage.model),
        "params": job.architecture.params(source.num_classes),
        "macs": job.architecture.macs(job.size.resolution, source.num_classes),
        "train_images": source.part_size(config.data.train_split),
        "eval_images": accuracy.examples,
        "eval_split": job.eval_split,
        **warning,
    }
