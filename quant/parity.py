"""Compares a fake-quantized Keras model with its int8 file, layer by layer.

python -m quant.parity --workdir=runs/digits --dataset=digits
"""

import dataclasses

from absl import flags

from flags import common, paths
from flags import data as data_flags
from nas_tf.base import cli, files
from nas_tf.base.errors import require
from nas_tf.base.run_folder import RunFolder
from quant.parity_config import RUNTIMES, ParityConfig

_MODEL = paths.DEFINE_path("model", "", "Fine-tuned model folder; default: <workdir>/finetune/model.")
_TFLITE = paths.DEFINE_path(
    "tflite", "", "The file converted from it; default: <workdir>/convert/model_int8.tflite."
)
_IMAGES = flags.DEFINE_integer(
    "num_images",
    ParityConfig.num_images,
    "How many images of the evaluation split are compared.",
    lower_bound=1,
)
_RUNTIME = flags.DEFINE_enum(
    "runtime", ParityConfig.runtime, RUNTIMES, "Kernels that run the file: xnnpack or TFLite's builtin."
)
_JSON = paths.DEFINE_path("output_json", "", "Also write the figures to this file.")


def main() -> None:
    """Runs the comparison and prints it."""
    cli.check_outputs(_JSON.value)
    workdir = common.WORKDIR.value
    require(
        bool(workdir or (_MODEL.value and _TFLITE.value)), "Give --workdir, or both --model and --tflite."
    )
    run = RunFolder(workdir or "")
    config = ParityConfig(
        model=_MODEL.value or str(run.qat_model),
        tflite=_TFLITE.value or str(run.int8_file),
        data=data_flags.data_config(),
        num_images=_IMAGES.value,
        runtime=_RUNTIME.value,
    )
    # Here, so that --help and mistakes in flags do not wait for TensorFlow.
    from quant.parity_run import run_parity

    result = run_parity(config)
    print(result.table)
    if _JSON.value:
        files.write_json(
            _JSON.value, {**result.figures, "layers": [dataclasses.asdict(row) for row in result.rows]}
        )
    cli.print_facts("Keras simulation beside the int8 file", result.figures)


if __name__ == "__main__":
    cli.run(main, resumes=False)
