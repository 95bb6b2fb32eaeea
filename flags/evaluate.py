"""Flags of evaluation that the whole pipeline shares."""

from absl import flags

from export.evaluate_config import EvaluateConfig
from flags import data
from nas_tf.base.interpreter import KERNELS

SPLIT = flags.DEFINE_string(
    "split",
    EvaluateConfig.split,
    "Images to evaluate the finished model on, in TFDS split syntax; empty: the "
    "value of --eval_split, or its default.",
)
EVAL_BATCH_SIZE = flags.DEFINE_integer(
    "eval_batch_size",
    EvaluateConfig.batch_size,
    "Images decoded at once in evaluation.",
    lower_bound=1,
    upper_bound=65536,
)
EVAL_WORKERS = flags.DEFINE_integer(
    "eval_workers",
    EvaluateConfig.num_workers,
    "Interpreters that run a .tflite side by side; 0: one per core.",
    lower_bound=0,
    upper_bound=1024,
)
EVAL_KERNELS = flags.DEFINE_enum(
    "eval_kernels",
    None,
    KERNELS,
    "Kernels that a .tflite is evaluated with: XNNPACK's, which phones run, or TFLite's "
    "built-in ones, which round a little differently. Default: xnnpack; in the pipeline those that the file "
    "is timed with.",
)


def eval_kernels_given() -> bool:
    """Whether --eval_kernels was given."""
    return EVAL_KERNELS.value is not None


def evaluate_config(model: str = "") -> EvaluateConfig:
    """The stage's settings; `model` is a flag of the stand-alone command only."""
    return EvaluateConfig(
        data=data.data_config(),
        model=model,
        split=SPLIT.value,
        batch_size=EVAL_BATCH_SIZE.value,
        num_workers=EVAL_WORKERS.value,
        kernels=EVAL_KERNELS.value or EvaluateConfig.kernels,
    )
