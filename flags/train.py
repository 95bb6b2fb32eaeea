"""Flags of training the compact network."""

from absl import flags

from flags import architecture, augmentation, common, compute, data, paths, saving, shards, space
from nas_tf.train.config import TrainConfig, WeightStep

EPOCHS = flags.DEFINE_integer("epochs", TrainConfig.epochs, "Passes over the training split.", lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", TrainConfig.batch_size, "Images in a training step.", lower_bound=1, upper_bound=65536
)
LEARNING_RATE = flags.DEFINE_float(
    "learning_rate",
    TrainConfig.learning_rate,
    "Learning rate at the start of the cosine decay.",
    lower_bound=1e-8,
    upper_bound=100.0,
)
WARMUP_EPOCHS = flags.DEFINE_float(
    "warmup_epochs",
    TrainConfig.warmup_epochs,
    "Epochs of linearly rising learning rate before the cosine decay.",
    lower_bound=0.0,
)
WEIGHT_DECAY = flags.DEFINE_float(
    "weight_decay",
    WeightStep.weight_decay,
    "L2 weight decay of kernels; none on batch norm and biases.",
    lower_bound=0.0,
    upper_bound=1.0,
)
LABEL_SMOOTHING = flags.DEFINE_float(
    "label_smoothing",
    WeightStep.label_smoothing,
    "Share of each label that is spread over all classes.",
    lower_bound=0.0,
    upper_bound=0.9,
)
DROPOUT = flags.DEFINE_float(
    "dropout", WeightStep.dropout, "Dropout rate before the classifier.", lower_bound=0.0, upper_bound=0.9
)
EMA_DECAY = flags.DEFINE_float(
    "ema_decay",
    WeightStep.ema_decay,
    "Decay per step of a moving average of the weights, which is then evaluated and saved; 0: none.",
    lower_bound=0.0,
    upper_bound=0.99999,
)
EVAL_EVERY = flags.DEFINE_integer(
    "eval_every",
    TrainConfig.eval_every,
    "Epochs between evaluations in training; the last is always evaluated.",
    lower_bound=1,
)
INITIAL_MODEL = paths.DEFINE_path(
    "initial_model",
    TrainConfig.initial_model,
    "Folder of a float model of the same architecture and classes to start from.",
)


def weight_step() -> WeightStep:
    """How one step changes the weights, as plain data."""
    return WeightStep(
        weight_decay=WEIGHT_DECAY.value,
        label_smoothing=LABEL_SMOOTHING.value,
        dropout=DROPOUT.value,
        ema_decay=EMA_DECAY.value,
        jit_compile=compute.JIT_COMPILE.value,
        mixed_precision=compute.MIXED_PRECISION.value,
    )


def train_config() -> TrainConfig:
    """The stage's settings."""
    return TrainConfig(
        data=data.data_config(),
        augmentation=augmentation.augmentation(),
        architecture=architecture.ARCHITECTURE.value or "",
        width_multiplier=space.WIDTH_MULTIPLIER.value,
        initial_model=INITIAL_MODEL.value,
        resolution=space.RESOLUTION.value,
        epochs=EPOCHS.value,
        batch_size=BATCH_SIZE.value,
        learning_rate=LEARNING_RATE.value,
        warmup_epochs=WARMUP_EPOCHS.value,
        weights=weight_step(),
        eval_every=EVAL_EVERY.value,
        checkpoint_minutes=saving.CHECKPOINT_MINUTES.value,
        keep_checkpoints=saving.KEEP_CHECKPOINTS.value,
        seed=common.SEED.value,
        shards=shards.SHARDS.value,
    )
