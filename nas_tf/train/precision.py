"""Mixed precision as one switch."""

import contextlib
from collections.abc import Iterator

import tf_keras as keras

# bfloat16 has float32's range, so no loss scaling and no skipped steps; it runs on TPUs,
# on GPUs from Ampere on, and on the CPU.
MIXED_POLICY = "mixed_bfloat16"


@contextlib.contextmanager
def policy(mixed: bool) -> Iterator[None]:
    """Layers made inside compute in bfloat16 if `mixed`; their variables stay float32."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(MIXED_POLICY if mixed else "float32")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
