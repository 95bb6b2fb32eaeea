"""Flags of quantization-aware fine-tuning."""

from absl import flags

from flags import augmentation, common, saving, shards
from flags import data as data_flags
from quant.finetune_config import RANGE_METHODS, ROUNDINGS, FinetuneConfig

STEPS = flags.DEFINE_integer(
    "steps",
    FinetuneConfig.steps,
    "Fine-tuning steps; 0 sets ranges and rounding and trains nothing, which measured "
    "best with a few hundred images.",
    lower_bound=0,
)
BATCH_SIZE = flags.DEFINE_integer(
    "finetune_batch_size",
    FinetuneConfig.batch_size,
    "Images in a fine-tuning step.",
    lower_bound=1,
    upper_bound=65536,
)
LEARNING_RATE = flags.DEFINE_float(
    "finetune_learning_rate",
    FinetuneConfig.learning_rate,
    "Adam's learning rate at the start of the cosine decay, in int8 steps of each weight.",
    lower_bound=0.0,
    upper_bound=10.0,
)
DISTILLATION = flags.DEFINE_float(
    "finetune_distillation",
    FinetuneConfig.distillation,
    "Share of the loss that comes from the float network's outputs; the rest comes from labels.",
    lower_bound=0.0,
    upper_bound=1.0,
)
FEATURES = flags.DEFINE_float(
    "finetune_features",
    FinetuneConfig.features,
    "Weight of the relative error of inner tensors, beside distillation and labels.",
    lower_bound=0.0,
    upper_bound=1000.0,
)
RANGE_METHOD = flags.DEFINE_enum(
    "finetune_range_method",
    FinetuneConfig.range_method,
    RANGE_METHODS,
    "How activation ranges are set from float activations before the first step.",
)
CALIBRATION_IMAGES = flags.DEFINE_integer(
    "finetune_calibration_images",
    FinetuneConfig.calibration_images,
    "Training images that set ranges, channel gains and rounding; where the split has fewer, "
    "random views of them are added.",
    lower_bound=1,
)
EQUALIZE = flags.DEFINE_bool(
    "finetune_equalize", FinetuneConfig.equalize, "Rescale channels to fill their int8 range first."
)
ROUNDING = flags.DEFINE_enum(
    "finetune_rounding",
    FinetuneConfig.rounding,
    ROUNDINGS,
    "How kernels are rounded before the first step: to the nearest integer; bias: also with "
    "biases corrected; reconstruct: layer by layer for the least error of the outputs.",
)
FROZEN_SHARE = flags.DEFINE_float(
    "finetune_frozen_share",
    FinetuneConfig.frozen_share,
    "Share of the steps, at the end, in which activation ranges stay; before, they follow.",
    lower_bound=0.0,
    upper_bound=1.0,
)


def finetune_config(model: str = "") -> FinetuneConfig:
    """The stage's settings; `model` is a flag of the stand-alone command only."""
    return FinetuneConfig(
        data=data_flags.data_config(),
        augmentation=augmentation.augmentation(),
        model=model,
        steps=STEPS.value,
        batch_size=BATCH_SIZE.value,
        learning_rate=LEARNING_RATE.value,
        distillation=DISTILLATION.value,
        features=FEATURES.value,
        range_method=RANGE_METHOD.value,
        calibration_images=CALIBRATION_IMAGES.value,
        equalize=EQUALIZE.value,
        rounding=ROUNDING.value,
        frozen_share=FROZEN_SHARE.value,
        checkpoint_minutes=saving.CHECKPOINT_MINUTES.value,
        keep_checkpoints=saving.KEEP_CHECKPOINTS.value,
        seed=common.SEED.value,
        shards=shards.SHARDS.value,
    )
