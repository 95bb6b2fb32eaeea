"""Flags that say which networks are meant."""

from absl import flags

from nas_tf.search.config import SearchConfig
from nas_tf.space.search_space import SPACES

SPACE = flags.DEFINE_enum(
    "space",
    SearchConfig.space,
    sorted(SPACES),
    "Search space: full (the paper's 21 blocks), universal (MobileNetV4's bottlenecks), small and "
    "small_universal (the candidates of each, for 32×32 images) or tiny (for digits).",
)
RESOLUTION = flags.DEFINE_integer(
    "resolution",
    SearchConfig.resolution,
    "Side of the square network input, in pixels.",
    lower_bound=8,
    upper_bound=2048,
)
WIDTH_MULTIPLIER = flags.DEFINE_float(
    "width_multiplier",
    SearchConfig.width_multiplier,
    "Factor on every width; widths are rounded to multiples of 8.",
    lower_bound=0.05,
    upper_bound=8.0,
)
