"""Flags of how long runs compute and save, whichever network they train."""

from absl import flags

JIT_COMPILE = flags.DEFINE_bool("jit_compile", False, "Compile training steps by XLA.")
MIXED_PRECISION = flags.DEFINE_bool("mixed_precision", False, "Compute in bfloat16, with weights in float32.")
CHECKPOINT_MINUTES = flags.DEFINE_float(
    "checkpoint_minutes",
    10.0,
    "Minutes between checkpoints within an epoch; the end of an epoch always is one.",
    lower_bound=0.0,
)
