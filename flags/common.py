"""Flags that every stage has."""

from absl import flags

from flags import paths
from nas_tf.train.config import TrainConfig

WORKDIR = paths.DEFINE_path(
    "workdir",
    None,
    "Run folder, with one subfolder for each stage. The same command with the same folder resumes.",
)
SEED = flags.DEFINE_integer(
    "seed", TrainConfig.seed, "Seed of sampling, initialization and shuffling.", lower_bound=0
)
