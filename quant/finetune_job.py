"""A fine-tuning run after its checks: the float network, the images, and how they go together."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from nas_tf.base.errors import require
from nas_tf.base.run_folder import RunFolder
from nas_tf.data import batches
from nas_tf.data.class_names import ClassList, Matching, match_dataset
from nas_tf.data.opening import open_config
from nas_tf.data.overview import check_disjoint
from nas_tf.data.sources import ImageSource
from nas_tf.distribute.shards import Shards
from nas_tf.distribute.workers import ALONE, Workers
from nas_tf.network import model_folder
from nas_tf.network.model_folder import ModelDescription
from nas_tf.train.schedules import steps_per_epoch
from quant.finetune_config import FinetuneConfig, check_settings

_MAX_BATCH = 64  # images evaluated at once


@dataclasses.dataclass(frozen=True)
class FinetuneJob:
    """What `check` found to fit together.

    Attributes:
      folder: the float network's model folder.
      float_model: the network as it was trained.
      matching: which of the network's classes is which of the dataset's. The network keeps its
        own order, and the dataset's labels are turned into it.
      shards: how processes share a step.
    """

    config: FinetuneConfig
    folder: str
    float_model: keras.Model
    description: ModelDescription
    source: ImageSource
    eval_split: str
    matching: Matching
    shards: Shards

    @property
    def image_size(self) -> tuple[int, int]:
        """(side of the network's input, short side before the crop), in pixels."""
        return self.description.resolution, self.description.resize_size

    @property
    def epoch_steps(self) -> int:
        """Steps that see the training split once."""
        images = self.source.part_size(self.config.data.train_split)
        return steps_per_epoch(images, self.config.batch_size)

    def settings(self) -> dict[str, Any]:
        """What decides the outcome."""
        settings = dataclasses.asdict(self.config) | {
            # The model by what it is and not by its path, which may change between runs.
            "model": model_folder.digest(self.folder),
            "data": self.config.data.identity(),
        }
        # How often to save, and how much, decides nothing.
        del settings["checkpoint_minutes"], settings["keep_checkpoints"]
        # As it is used: a flag of 0 and the model's own number are one run.
        settings["data"]["resize_size"] = self.description.resize_size
        return settings

    def training_batches(self, start_step: int) -> Iterator:
        """Endless (uint8 images [N,R,R,3], labels [N] by the network's order) from a step on."""
        config, (resolution, resize_size) = self.config, self.image_size
        dataset = batches.training_batches(
            self.source,
            config.data.train_split,
            config.batch_size,
            resolution,
            config.augmentation,
            config.seed,
            start_step,
            resize_size=resize_size,
            rows=self.shards.rows(config.batch_size),
        )
        order = np.array(self.matching.order, np.int64)
        dataset = dataset.map(lambda images, labels: (images, tf.gather(order, labels)))
        return batches.readable(self.source, batches.on_device(dataset))

    def evaluation_batches(self) -> Iterator:
        """The evaluation split once, like `training_batches`."""
        dataset = batches.evaluation_batches(self.source, self.eval_split, _MAX_BATCH, *self.image_size)
        order = np.array(self.matching.order, np.int64)
        for images, labels in batches.readable(self.source, dataset):
            yield images, order[labels.numpy()]


def check(workdir: str, config: FinetuneConfig, workers: Workers = ALONE) -> FinetuneJob:
    """Opens the model and the images, and refuses what does not fit.

    Raises:
      UserError: see `quant.finetune_run.run_finetune`.
    """
    check_settings(config)
    shards = Shards(config.shards, workers)
    shards.require_divides(config.batch_size, "--finetune_batch_size")
    folder = config.model or str(RunFolder(workdir).float_model)
    float_model, description = model_folder.load_float_model(folder)
    source = open_config(config.data)
    _require_class_count(folder, description, source, config.data.dataset)
    eval_split = source.evaluation_split(config.data.eval_split)
    check_disjoint(source, ("train_split", config.data.train_split), ("eval_split", eval_split))
    classes = ClassList(f"model {folder!r}", description.labels, description.named)
    matching = match_dataset(classes, source, config.data.class_names)
    require(
        # A run's float and int8 networks are compared, and so have to see the same crops.
        config.data.resize_size in (0, description.resize_size),
        f"--resize_size={config.data.resize_size} is not what the model in {folder!r} "
        f"was made with: {description.resize_size}.",
    )
    return FinetuneJob(config, folder, float_model, description, source, eval_split, matching, shards)


def _require_class_count(
    folder: str, description: ModelDescription, source: ImageSource, dataset: str
) -> None:
    advice = "."
    if description.num_classes == source.num_classes + 1:
        advice = ", one less: if the model's first is background, import it again with --background=first."
    require(
        source.num_classes == description.num_classes,
        f"The model in {folder!r} has {description.num_classes} classes, but the "
        f"dataset {dataset!r} has {source.num_classes}{advice}",
    )
