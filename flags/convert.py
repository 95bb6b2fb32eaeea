"""Flags of conversion that the whole pipeline shares."""

from absl import flags

from export import background
from export.convert_run import ConvertConfig
from export.converter import TYPES
from flags import common

INPUT_TYPE = flags.DEFINE_enum(
    "inference_input_type",
    ConvertConfig.input_type,
    TYPES,
    "Data type of the .tflite's input: uint8 pixels as they are, int8 pixels minus 128, or "
    "float32 (pixel - 128) / 128.",
)
OUTPUT_TYPE = flags.DEFINE_enum(
    "inference_output_type", ConvertConfig.output_type, TYPES, "Data type of the .tflite's logits."
)
MARGIN = flags.DEFINE_float(
    "background_margin_steps",
    ConvertConfig.background_margin_steps,
    "By how many int8 steps of the logits background stays under the class that lends it its "
    "weights. 1.05 closes the tie; more also keeps it from winning where logits leave their range.",
    lower_bound=background.MIN_MARGIN_STEPS,
    upper_bound=255,
)

AUTHOR = flags.DEFINE_string(
    "author", ConvertConfig.author, "Who made the model, for the file's metadata and its model card."
)
VERSION = flags.DEFINE_string(
    "model_version",
    ConvertConfig.version,
    "Version of the model, for the file's metadata and its model card.",
)
LICENSE = flags.DEFINE_string(
    "model_license", ConvertConfig.license, "Licence of the model, likewise; empty: it is left out."
)


def convert_config(model: str = "", output: str = "", num_classes: int = 0) -> ConvertConfig:
    """The stage's settings; the arguments are flags of the stand-alone command only."""
    return ConvertConfig(
        model=model,
        output=output,
        num_classes=num_classes,
        input_type=INPUT_TYPE.value,
        output_type=OUTPUT_TYPE.value,
        seed=common.SEED.value,
        background_margin_steps=MARGIN.value,
        author=AUTHOR.value,
        version=VERSION.value,
        license=LICENSE.value,
    )
