"""What a training run is asked to do, as plain data. Imports no TensorFlow."""

import dataclasses

from nas_tf.base.errors import require
from nas_tf.base.run_folder import KEPT_CHECKPOINTS
from nas_tf.data.config import Augmentation, DataConfig


@dataclasses.dataclass(frozen=True)
class WeightStep:
    """How one step changes the weights.

    Attributes:
      weight_decay: on kernels only; see `nas_tf.train.optimizers`.
      label_smoothing: share of each label that is spread over all classes.
      dropout: rate before the classifier.
      ema_decay: of a moving average of the weights that is evaluated and saved in their
        place; 0: none.
      jit_compile: compile the step by XLA.
      mixed_precision: compute in bfloat16.
    """

    weight_decay: float = 4e-5
    label_smoothing: float = 0.1
    dropout: float = 0.1
    ema_decay: float = 0.0
    jit_compile: bool = False
    mixed_precision: bool = False


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of training the compact network; defaults are the published ImageNet ones.

    Attributes:
      data, augmentation: the images.
      architecture: file, published name or short string; empty: the search's result.
      width_multiplier: on the widths of a given architecture, not on the search's result.
      initial_model: folder of a float model of this architecture to start from; may be empty.
      epochs: passes over the training split.
      learning_rate: at the start of the cosine decay.
      warmup_epochs: linear rise of the rate before it.
      eval_every: epochs between evaluations; the last epoch always is one.
      checkpoint_minutes: between checkpoints; the end of an epoch always is one.
      keep_checkpoints: how many are kept.
      seed: of initialization, order, augmentation and dropout.
      shards: equal parts of a batch, each normalized by itself; processes share them.
    """

    data: DataConfig
    augmentation: Augmentation = Augmentation()
    architecture: str = ""
    width_multiplier: float = 1.0
    initial_model: str = ""
    resolution: int = 224
    epochs: int = 300
    batch_size: int = 256
    learning_rate: float = 0.05
    warmup_epochs: float = 0.0
    weights: WeightStep = WeightStep()
    eval_every: int = 1
    checkpoint_minutes: float = 10.0
    keep_checkpoints: int = KEPT_CHECKPOINTS
    seed: int = 0
    shards: int = 1


def check_settings(config: TrainConfig) -> None:
    """Raises `UserError` for numbers that no training could work with."""
    for name in ("epochs", "batch_size", "resolution", "eval_every"):
        value = getattr(config, name)
        require(value > 0, f"--{name} must be at least 1, not {value}.")
    require(
        config.warmup_epochs < config.epochs,
        f"--warmup_epochs={config.warmup_epochs:g} must be fewer than --epochs={config.epochs}.",
    )
