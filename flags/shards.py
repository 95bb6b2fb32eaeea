"""The flag of how many parts a batch is cut into."""

from absl import flags

from nas_tf.train.config import TrainConfig

SHARDS = flags.DEFINE_integer(
    "shards",
    TrainConfig.shards,
    "Equal parts of each batch that are computed apart, as if each stood on a device of its own: each is "
    "normalized by itself, and gradients are averaged. A setting of the run; processes share the parts.",
    lower_bound=1,
    upper_bound=65536,
)
