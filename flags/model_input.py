"""Flags of a .tflite's input, for files that do not say it themselves."""

from absl import flags

from export.evaluate_config import EvaluateConfig

MEAN = flags.DEFINE_list(
    "input_mean",
    list(EvaluateConfig.input_mean),
    "Of a .tflite's input, x = (pixel - mean) / std, pixels 0 to 255: one number, "
    "or three separated by commas. Default: what the file says; pixels for integer inputs.",
)
STD = flags.DEFINE_list("input_std", list(EvaluateConfig.input_std), "See --input_mean.")
RESOLUTION = flags.DEFINE_integer(
    "resolution",
    EvaluateConfig.resolution,
    "Side in pixels of a .tflite's input, where the file leaves it open.",
    lower_bound=0,
    upper_bound=4096,
)
