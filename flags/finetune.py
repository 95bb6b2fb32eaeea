"""Flags of quantization-aware fine-tuning."""

from absl import flags

from flags import common
from flags import data as data_flags
from quant.finetune_config import FinetuneConfig, RANGE_METHODS

STEPS = flags.DEFINE_integer(
    "steps", 300, "Fine-tuning steps; 0 only sets the ranges.", lower_bound=0)
BATCH_SIZE = flags.DEFINE_integer(
    "finetune_batch_size", 32, "Images in a fine-tuning step.", lower_bound=1)
LEARNING_RATE = flags.DEFINE_float(
    "finetune_learning_rate", 3e-5, "Adam's learning rate at the start of the cosine decay.",
    lower_bound=0.0, upper_bound=1.0)
DISTILLATION = flags.DEFINE_float(
    "finetune_distillation", 1.0,
    "Share of the loss that comes from the float network's outputs; the rest comes from labels.",
    lower_bound=0.0, upper_bound=1.0)
RANGE_METHOD = flags.DEFINE_enum(
    "finetune_range_method", "mse", RANGE_METHODS,
    "How activation ranges are set from float activations before the first step.")
CALIBRATION_IMAGES = flags.DEFINE_integer(
    "finetune_calibration_images", 512, "Training images that set the ranges.", lower_bound=1)
FROZEN_SHARE = flags.DEFINE_float(
    "finetune_frozen_share", 0.5, "Share of the steps, at the end, in which ranges stay.",
    lower_bound=0.0, upper_bound=1.0)


def finetune_config(model: str = "") -> FinetuneConfig:
    """The stage's settings; `model` is a flag of the stand-alone command only."""
    return FinetuneConfig(
        data=data_flags.data_config(), augmentation=data_flags.augmentation(), model=model,
        steps=STEPS.value, batch_size=BATCH_SIZE.value, learning_rate=LEARNING_RATE.value,
        distillation=DISTILLATION.value, range_method=RANGE_METHOD.value,
        calibration_images=CALIBRATION_IMAGES.value, frozen_share=FROZEN_SHARE.value,
        seed=common.SEED.value)
