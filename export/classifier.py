"""A `.tflite` file and a model folder of ours in one form: images in, a score per class out."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from export import input_scaling, labels
from export.evaluate_config import EvaluateConfig
from nas_tf.base.errors import require
from nas_tf.latency.tilting import softmax
from nas_tf.network import model_folder


def _softmax(scores: np.ndarray) -> np.ndarray:
    return softmax(scores.astype(np.float64))


class Classifier(NamedTuple):
    """A model ready to run.

    Attributes:
      kind: "tflite", or the model folder's, "float" or "qat".
      resolution: side of the input, in pixels.
      resize_size: short side before the crop that the model was made with; 0: not known.
      num_outputs: classes, a background class counted.
      input_type: data type of the input, such as "uint8".
      kernels: that run a file; "" for a folder.
      scores: uint8 images [N,R,R,3] → [N, num_outputs].
      labels: one per output, or None; named: whether they are more than numbers.
      input_scaling: how pixels become its input, and why.
      probabilities: scores [N, num_outputs] → as many probabilities, each row's sum 1.
      words: labels for people, one per output, or None if there are no others.
    """

    kind: str
    resolution: int
    resize_size: int
    num_outputs: int
    input_type: str
    kernels: str
    scores: Callable[[np.ndarray], np.ndarray]
    labels: tuple[str, ...] | None
    named: bool
    input_scaling: dict[str, str]
    probabilities: Callable[[np.ndarray], np.ndarray] = _softmax
    words: tuple[str, ...] | None = None


def load_classifier(model: str, config: EvaluateConfig) -> Classifier:
    """The model of this path, set up as `config` says.

    Raises:
      UserError: there is none, it cannot be used, or `config` says of a folder what it says itself.
    """
    path = pathlib.Path(model)
    require(path.exists(), f"There is no model {model!r} to evaluate.")
    if not path.is_dir():
        return _load_file(path, config)
    require(
        not (config.input_mean or config.input_std or config.resolution),
        f"{model!r} is a model folder, which says itself how images are prepared; "
        "--input_mean, --input_std and --resolution are for .tflite files.",
    )
    return _load_folder(path)


def _load_file(path: pathlib.Path, config: EvaluateConfig) -> Classifier:
    from export.tflite_classifier import FileOptions, TFLiteClassifier

    scaling = input_scaling.asked(config.input_mean, config.input_std)
    options = FileOptions(config.num_workers, config.kernels, scaling, config.resolution)
    file = TFLiteClassifier(path, options)
    return Classifier(
        kind="tflite",
        resolution=file.resolution,
        resize_size=file.resize_size,
        num_outputs=file.num_outputs,
        input_type=file.input_type,
        kernels=config.kernels,
        scores=file,
        labels=file.labels,
        named=file.named,
        input_scaling=file.input_scaling.facts(),
        probabilities=file.probabilities,
        words=file.words,
    )


def _load_folder(path: pathlib.Path) -> Classifier:
    # Here, so that flags are parsed before TensorFlow is loaded.
    import tensorflow as tf

    from nas_tf.data.preprocess import to_network_input

    if model_folder.read_description(path).kind == "qat":
        from quant.integer_model import simulation
        from quant.model import load_qat_model

        network, description = load_qat_model(path)
        answer = simulation(network)  # what its int8 file will answer
    else:
        network, description = model_folder.load_float_model(path)
        answer = network
    # The last batch is often smaller; with its size left open, that does not trace another graph.
    run = tf.function(lambda images: answer(to_network_input(images), training=False), reduce_retracing=True)
    return Classifier(
        kind=description.kind,
        resolution=description.resolution,
        resize_size=description.resize_size,
        num_outputs=network.output_shape[-1],
        input_type="float32",
        kernels="",
        scores=lambda images: run(tf.constant(images)).numpy(),
        labels=description.labels,
        named=description.named,
        input_scaling={"formula": "(pixel - 128) / 128", "reason": "a model folder of this project"},
        words=labels.words_of(description.labels),
    )
