"""Int8 files by AI Edge Quantizer, used as its README (0.10) has it. Imports the package only when asked.

Its `static_wi8_ai8` recipe: kernels in int8, symmetric and by channel; activations in int8, asymmetric and
by tensor, for which its calibrator runs the float file on real images.
"""

import contextlib
import importlib.util
import io
import logging
from collections.abc import Iterator

import numpy as np

PACKAGE = "ai_edge_quantizer"
_SIGNATURE = "serving_default"


def unavailable() -> str:
    """Why there can be no such file, in a sentence; "" where there can."""
    if importlib.util.find_spec(PACKAGE) is not None:
        return ""
    return "the package ai-edge-quantizer is not installed; pip install '.[peers]' brings it."


def moving_average(content: bytes, images: list[np.ndarray]) -> bytes:
    """An int8 file by the package's defaults: ranges are moving averages of each image's extremes.

    Args:
      content: the float `.tflite`, of one input "image" [1,R,R,3].
      images: network inputs, float32 [n,R,R,3] each.
    """
    from ai_edge_quantizer import quantizer, recipe

    made = quantizer.Quantizer(content, recipe.static_wi8_ai8())
    with _quiet():
        return _finish(made, made.calibrate({_SIGNATURE: list(_samples(images))}))


def extremes(content: bytes, images: list[np.ndarray]) -> bytes:
    """As `moving_average`, with ranges from the least to the largest value of all images.

    That is the package's `min_max_update`, given to its `CalibrationInterpreter`.
    """
    from ai_edge_quantizer import calibrator, quantizer, recipe
    from ai_edge_quantizer.utils import qsv_utils

    made = quantizer.Quantizer(content, recipe.static_wi8_ai8())
    with _quiet():
        interpreter = calibrator.CalibrationInterpreter(
            content,
            mode=calibrator.CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS,
            qsv_update_func=qsv_utils.min_max_update,
        )
        # Its runner takes `static_wi8_ai8` by itself.
        run = interpreter.get_signature_runner(_SIGNATURE)
        for sample in _samples(images):
            run(**sample)
        return _finish(made, interpreter.get_calibration_results())


def _samples(images: list[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    return ({"image": image[np.newaxis]} for batch in images for image in batch)


def _finish(made, calibrated: dict) -> bytes:
    content = made.quantize(calibrated, enable_progress_report=False).quantized_model
    return bytes(content)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without a progress bar for every image, which is in the way of the table."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
