"""Flags of how long runs compute and save, whichever network they train."""

from absl import flags

from nas_tf.search.config import SearchConfig

JIT_COMPILE = flags.DEFINE_bool("jit_compile", SearchConfig.jit_compile, "Compile training steps by XLA.")
MIXED_PRECISION = flags.DEFINE_bool(
    "mixed_precision", SearchConfig.mixed_precision, "Compute in bfloat16, with weights in float32."
)
CHECKPOINT_MINUTES = flags.DEFINE_float(
    "checkpoint_minutes",
    SearchConfig.checkpoint_minutes,
    "Minutes between checkpoints within an epoch; the end of an epoch always is one.",
    lower_bound=0.0,
)
