"""Flags of how runs compute, whichever network they train."""

from absl import flags

from nas_tf.search.config import SearchConfig

JIT_COMPILE = flags.DEFINE_bool("jit_compile", SearchConfig.jit_compile, "Compile training steps by XLA.")
MIXED_PRECISION = flags.DEFINE_bool(
    "mixed_precision", SearchConfig.mixed_precision, "Compute in bfloat16, with weights in float32."
)
