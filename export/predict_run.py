"""What a model says of image files: labels with their probabilities."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from export.classifier import Classifier, load_classifier
from export.evaluate_config import EvaluateConfig
from nas_tf.base.errors import require
from nas_tf.data.config import DataConfig, default_resize_size

_SHOWN_FAULTS = 5


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Settings of a prediction.

    Attributes:
      model: a `.tflite` file or a model folder.
      top: how many labels of each image.
      resize_size: short side before the centre crop, in pixels; 0: what the model says, or the default.
      input_mean, input_std, resolution: as in `EvaluateConfig`, for files that do not say.
    """

    model: str = ""
    top: int = 5
    resize_size: int = 0
    input_mean: tuple[str | float, ...] = ()
    input_std: tuple[str | float, ...] = ()
    resolution: int = 0


def predict(images: Sequence[str], config: PredictConfig) -> dict[str, Any]:
    """The most probable labels of image files, prepared as evaluation prepares them.

    Returns:
      The summary: `images`, for each a dict of `file` and `predictions`, most probable first, each with
      `index` (of the output), `label`, `probability`, and `words` where the model has words for its
      labels; and how they were prepared: `model`, `kernels`, `input_scaling`, `resolution`, `resize_size`.

    Raises:
      UserError: a file that is no readable image, or an unusable model; before any image is judged.
    """
    orientations = _checked(images)
    classifier = load_classifier(config.model, _as_evaluation(config))
    resolution = classifier.resolution
    resize_size = config.resize_size or classifier.resize_size or default_resize_size(resolution, None)
    require(
        resolution <= resize_size,
        f"--resize_size={resize_size} is smaller than the model's input of {resolution} pixels.",
    )
    crops = _crops(images, orientations, resolution, resize_size)
    return {
        "model": config.model,
        "kernels": classifier.kernels,
        "input_scaling": classifier.input_scaling,
        "resolution": resolution,
        "resize_size": resize_size,
        "images": [
            {"file": file, "predictions": _predictions(pixels, classifier, config.top)}
            for file, pixels in zip(images, crops, strict=True)
        ],
    }


def table_for_people(summary: dict[str, Any]) -> str:
    """Rows of probability, output and label, for each image."""
    lines = []
    for image in summary["images"]:
        lines.append(image["file"])
        for row in image["predictions"]:
            words = f"  {row['words']}" if row.get("words", row["label"]) != row["label"] else ""
            lines.append(f"  {row['probability']:8.2%}  {row['index']:>5}  {row['label']}{words}")
    return "\n".join(lines)


def _as_evaluation(config: PredictConfig) -> EvaluateConfig:
    return EvaluateConfig(
        DataConfig(""),
        # One image at a time needs no more.
        num_workers=1,
        input_mean=config.input_mean,
        input_std=config.input_std,
        resolution=config.resolution,
    )


def _checked(images: Sequence[str]) -> list[int]:
    """EXIF orientations of the files; refuses, all at once, those that are no readable images."""
    from nas_tf.data.image_files import decoding_faults, look_at

    require(bool(images), "Name at least one image file, as in: export.predict --model=m.tflite photo.jpg")
    paths = [pathlib.Path(image).expanduser() for image in images]
    faults = {
        str(path): "it is a folder" if path.is_dir() else "there is no such file"
        for path in paths
        if not path.is_file()
    }
    present = [path for path in paths if path.is_file()]
    looks = look_at(present)
    faults |= {str(path): look.fault for path, look in zip(present, looks, strict=True) if look.fault}
    readable = [path for path in present if str(path) not in faults]
    faults |= {str(p): f for p, f in zip(readable, decoding_faults(readable), strict=True) if f}
    shown = "; ".join(f"{name!r} ({why})" for name, why in list(faults.items())[:_SHOWN_FAULTS])
    require(not faults, f"{len(faults)} of {len(images)} images cannot be read: {shown}.")
    return [look.orientation for look in looks]


def _crops(
    images: Sequence[str], orientations: Sequence[int], resolution: int, resize_size: int
) -> Iterator[np.ndarray]:
    """Pixels uint8 [resolution, resolution, 3] of each file, in order."""
    import tensorflow as tf

    from nas_tf.data.batches import READY
    from nas_tf.data.decode import decode_photo
    from nas_tf.data.preprocess import evaluation_image

    def prepared(path: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
        image = decode_photo(tf.io.read_file(path), orientation)
        return evaluation_image(image, resolution, resize_size)

    # As in evaluation, where too the files to come are decoded meanwhile.
    paths = [str(pathlib.Path(image).expanduser()) for image in images]
    files = tf.data.Dataset.from_tensor_slices((paths, list(orientations)))
    crops = files.map(prepared, num_parallel_calls=tf.data.AUTOTUNE)
    return crops.prefetch(READY).as_numpy_iterator()


def _predictions(pixels: np.ndarray, classifier: Classifier, top: int) -> list[dict[str, Any]]:
    scores = classifier.scores(pixels[np.newaxis])
    probabilities = classifier.probabilities(scores)[0]
    # By the scores themselves, and stable: of equal ones the first, as in evaluation.
    order = np.argsort(-scores[0].astype(np.float64), kind="stable")[:top]
    return [_row(int(index), float(probabilities[index]), classifier) for index in order]


def _row(index: int, probability: float, classifier: Classifier) -> dict[str, Any]:
    label = classifier.labels[index] if classifier.labels else f"class {index}"
    words = {"words": classifier.words[index]} if classifier.words else {}
    return {"index": index, "label": label, "probability": probability, **words}
