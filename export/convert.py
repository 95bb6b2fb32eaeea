"""Command: a fine-tuned network becomes a checked int8 .tflite with a background class.

    python -m export.convert --workdir=runs/a
    python -m export.convert --model=runs/a/train/model --output=runs/float.tflite \\
        --inference_input_type=float32 --inference_output_type=float32
"""

from absl import flags

from export import convert_run
from flags import common, paths
from flags.convert import convert_config
from nas_tf.base import cli
from nas_tf.base.errors import require

_MODEL = paths.DEFINE_path(
    "model",
    "",
    "Model folder to convert: a fine-tuned one, or a float one for a float32 file. "
    "Default: <workdir>/finetune/model.",
)
_OUTPUT = paths.DEFINE_path(
    "output",
    "",
    "File to write; its labels go beside it, into <name>_labels.txt. Default: "
    "<workdir>/convert/model_int8.tflite (model_float32.tflite for a float model), with labels.txt.",
)
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes",
    convert_run.ConvertConfig.num_classes,
    "Outputs of the file: the model's N classes, or N + 1 with background at "
    "index 0 (1001 for ImageNet). 0 means N + 1.",
    lower_bound=0,
    upper_bound=1_000_001,
)


def main() -> None:
    """Converts and prints what was written."""
    require(
        bool(common.WORKDIR.value or (_MODEL.value and _OUTPUT.value)),
        "Give --workdir, or both --model and --output.",
    )
    config = convert_config(_MODEL.value, _OUTPUT.value, _NUM_CLASSES.value)
    summary = convert_run.run_convert(common.WORKDIR.value or "", config)
    workdir = f"--workdir={common.WORKDIR.value}" if common.WORKDIR.value else ""
    cli.print_facts(
        "Converted",
        convert_run.facts_for_people(summary),
        f"python -m export.evaluate {workdir or '--model=' + summary['output']} --dataset=…",
    )


if __name__ == "__main__":
    cli.run(main)
