"""Flags of how often the stages that take long save, and how much of it they keep."""

from absl import flags

from nas_tf.base.run_folder import KEPT_CHECKPOINTS
from nas_tf.search.config import SearchConfig

CHECKPOINT_MINUTES = flags.DEFINE_float(
    "checkpoint_minutes",
    SearchConfig.checkpoint_minutes,
    "Minutes between checkpoints within an epoch; the end of an epoch always is one.",
    lower_bound=0.0,
)
KEEP_CHECKPOINTS = flags.DEFINE_integer(
    "keep_checkpoints",
    KEPT_CHECKPOINTS,
    "Checkpoints of a stage that are kept: if the latest is damaged, the run goes back to the one before.",
    lower_bound=1,
)
