"""What a fine-tuning run is asked to do, as plain data. Imports no TensorFlow."""

import dataclasses

from nas_tf.base.errors import require
from nas_tf.base.run_folder import KEPT_CHECKPOINTS
from nas_tf.data.config import Augmentation, DataConfig

RANGE_METHODS = ("minmax", "percentile", "mse")
ROUNDINGS = ("nearest", "bias", "reconstruct")


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """Settings of quantization-aware fine-tuning.

    Attributes:
      model: folder of the float model; empty: `<workdir>/train/model`.
      steps: optimizer steps; 0 trains nothing, which measured best where images are few.
      learning_rate: of Adam, at the start of its cosine decay, in int8 steps of each weight.
      distillation: share of the loss that comes from the float network's outputs, in
        [0, 1]; the rest comes from the labels.
      features: weight of the relative error of the inner tensors, beside that.
      range_method: how ranges are set from float activations: minmax, percentile or mse.
      calibration_images: how many training images set ranges, gains and rounding; random views
        of them are added where the split has fewer.
      equalize: whether channels are rescaled to fill their range first.
      rounding: of kernels before the first step: to the nearest integer; "bias", the same with
        biases corrected; or "reconstruct", layer by layer for the least error of outputs.
      frozen_share: share of the steps, at the end, in which ranges no longer move.
      checkpoint_minutes: between checkpoints within an epoch; layers are rounded faster.
      keep_checkpoints: how many are kept.
      seed: of the order and augmentation of images.
      shards: equal parts of a batch, each computed apart; processes share them.
    """

    data: DataConfig
    augmentation: Augmentation
    model: str = ""
    steps: int = 0
    batch_size: int = 32
    # The figures below are of the logits' noise on one published network; see docs/quantization.md.
    # Ten times as much cost 4.9 dB.
    learning_rate: float = 0.01
    # Labels in its place cost 6.4 dB, with 200 images.
    distillation: float = 1.0
    features: float = 1.0
    # 0.9 dB better than min/max.
    range_method: str = "mse"
    # 64 were 2.6 dB worse.
    calibration_images: int = 512
    # Brought 0.7 dB, and 1.1 with all else in place.
    equalize: bool = True
    # 1.7 dB better than corrected biases, which are 3.0 better than none.
    rounding: str = "reconstruct"
    # Ranges that move to the end changed nothing beyond noise.
    frozen_share: float = 1.0
    checkpoint_minutes: float = 10.0
    keep_checkpoints: int = KEPT_CHECKPOINTS
    seed: int = 0
    shards: int = 1


def check_settings(config: FinetuneConfig) -> None:
    """Raises `UserError` for settings that no fine-tuning could work with."""
    for name, flag, allowed in (
        ("range_method", "finetune_range_method", RANGE_METHODS),
        ("rounding", "finetune_rounding", ROUNDINGS),
    ):
        value = getattr(config, name)
        require(value in allowed, f"--{flag}={value!r}; allowed: {', '.join(allowed)}.")
    for flag, value, least in (
        ("steps", config.steps, 0),
        ("finetune_batch_size", config.batch_size, 1),
        ("finetune_calibration_images", config.calibration_images, 1),
    ):
        require(value >= least, f"--{flag} must be at least {least}, not {value}.")
    for flag, share in (
        ("finetune_distillation", config.distillation),
        ("finetune_frozen_share", config.frozen_share),
    ):
        require(0 <= share <= 1, f"--{flag} must be 0 to 1, not {share:g}.")
    require(config.features >= 0, f"--finetune_features must be 0 or more, not {config.features:g}.")
    require(
        config.learning_rate >= 0,
        f"--finetune_learning_rate must be 0 or more, not {config.learning_rate:g}.",
    )
