"""Command: what a model sees in image files.

    python -m export.predict --model=model_int8.tflite photo.jpg other.png

Images are prepared as in evaluation; a .tflite of ours carries labels, resize, crop and scaling itself.
"""

from absl import flags

from export.predict_run import PredictConfig, predict, table_for_people
from flags import model_input, paths
from nas_tf.base import cli, files
from nas_tf.base.errors import require

_MODEL = paths.DEFINE_path("model", "", "A .tflite file, or a model folder of ours.")
_TOP = flags.DEFINE_integer(
    "top", PredictConfig.top, "How many labels of each image.", lower_bound=1, upper_bound=1_000_000
)
_RESIZE_SIZE = flags.DEFINE_integer(
    "resize_size",
    PredictConfig.resize_size,
    "Short side in pixels before the centre crop; 0: what the model says, or resolution * 256 / 224.",
    lower_bound=0,
    upper_bound=8192,
)
_OUTPUT = paths.DEFINE_path("output_json", "", "Also write the summary to this file.")


def main(images: list[str]) -> None:
    """Prints labels with probabilities."""
    require(bool(_MODEL.value), "Give --model.")
    cli.check_outputs(_OUTPUT.value)
    config = PredictConfig(
        model=_MODEL.value,
        top=_TOP.value,
        resize_size=_RESIZE_SIZE.value,
        input_mean=tuple(model_input.MEAN.value),
        input_std=tuple(model_input.STD.value),
        resolution=model_input.RESOLUTION.value,
    )
    summary = predict(images, config)
    if _OUTPUT.value:
        files.write_json(_OUTPUT.value, summary)
    print(table_for_people(summary))


if __name__ == "__main__":
    cli.run(main, takes_files=True, resumes=False)
