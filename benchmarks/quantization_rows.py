"""The rows of `benchmarks.quantization_loss`: ways of making an int8 file of a float network."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

from benchmarks import ai_edge_rows
from export.converter import convert_keras
from export.file_check import run_file
from nas_tf.base import files
from nas_tf.data import batches
from nas_tf.data.class_names import ClassList, match_dataset
from nas_tf.data.config import NO_AUGMENTATION, DataConfig
from nas_tf.data.opening import open_config
from nas_tf.data.overview import check_disjoint
from nas_tf.data.preprocess import to_network_input
from nas_tf.network import model_folder
from quant import scheme
from quant.finetune_config import FinetuneConfig
from quant.finetune_run import run_finetune
from quant.integer_model import IntegerModel
from quant.model import load_qat_model
from quant.rewrite import rewrite

_BATCH = 50
_NONE = np.zeros((0,), np.float32)
_STEPS = 60  # of the rows that train


@dataclasses.dataclass(frozen=True)
class Row:
    """What one row's network says, and its file's size in bytes.

    Logits are float32 [N, classes]: of the int8 file, of its Keras simulation and of its integer form
    (empty where there is none).
    """

    file: np.ndarray
    simulated: np.ndarray
    integer: np.ndarray
    size: int


@dataclasses.dataclass(frozen=True)
class Job:
    """What all rows share; images are uint8 [N,R,R,3]."""

    folder: pathlib.Path
    network: keras.Model
    train_images: np.ndarray
    train_labels: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    split: str
    finetune: FinetuneConfig
    default_steps: int

    def float_logits(self) -> np.ndarray:
        """The float network's logits."""
        return predict(self.network, self.images)

    def calibration(self) -> list[np.ndarray]:
        """Network inputs of the training images, in batches."""
        inputs = to_network_input(self.train_images).numpy()
        return [inputs[i : i + _BATCH] for i in range(0, len(inputs), _BATCH)]


def open_job(workdir: str, model: str, data: DataConfig, finetune: FinetuneConfig, default_steps: int) -> Job:
    """Reads the float model and both splits."""
    network, description = model_folder.load_float_model(model)
    source = open_config(data)
    split = source.evaluation_split(data.eval_split)
    check_disjoint(source, ("train_split", data.train_split), ("eval_split", split))
    matching = match_dataset(
        ClassList(f"model {model!r}", description.labels, description.named), source, data.class_names
    )
    arrays = []
    for part in (data.train_split, split):
        dataset = batches.evaluation_batches(
            source, part, _BATCH, description.resolution, description.resize_size
        )
        images, labels = zip(*batches.readable(source, dataset), strict=True)
        arrays += [np.concatenate(images), np.array(matching.order)[np.concatenate(labels)]]
    return Job(files.make_folder(workdir), network, *arrays, split, finetune, default_steps)


def post_training(job: Job) -> Row:
    """TFLite's post-training full-integer quantization, calibrated on the training images."""
    converter = tf.lite.TFLiteConverter.from_keras_model(job.network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [image[None]] for batch in job.calibration() for image in batch
    )
    # Otherwise what has no integer kernel would quietly stay float.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    content = converter.convert()
    return Row(run_file(content, job.images), _NONE, _NONE, len(content))


def ai_edge(quantize: Callable[[bytes, list[np.ndarray]], bytes]) -> Callable[[Job], Row]:
    """AI Edge Quantizer on the float file, calibrated on the same images as `post_training`."""

    def row(job: Job) -> Row:
        float_file = convert_keras(job.network, "float32", "float32", quantized=False)
        content = quantize(float_file, job.calibration())
        return Row(run_file(content, job.images), _NONE, _NONE, len(content))

    return row


def tfmot_default(job: Job) -> Row:
    """tfmot's own scheme as its guide has it: annotate, apply, fine-tune on the labels."""
    known = scheme.Registry()

    def annotate(layer):
        supported = known.supports(layer) or isinstance(layer, keras.layers.BatchNormalization)
        own = type(layer).__module__.startswith("nas_tf")
        return tfmot.quantization.keras.quantize_annotate_layer(layer) if supported and not own else layer

    # Its border snapped to plain zeros, which tfmot knows; batch norm left as its guide has it.
    network, _ = rewrite(job.network, fold=False)
    annotated = keras.models.clone_model(network, clone_function=annotate)
    # Cloning makes layers with fresh weights.
    annotated.set_weights(network.get_weights())
    with tfmot.quantization.keras.quantize_scope(scheme.CUSTOM_OBJECTS):
        model = tfmot.quantization.keras.quantize_apply(annotated)
    model.compile(keras.optimizers.Adam(1e-5), keras.losses.SparseCategoricalCrossentropy(True))
    data = tf.data.Dataset.from_tensor_slices((job.train_images, job.train_labels))
    data = data.shuffle(len(job.train_labels), seed=0).repeat().batch(job.finetune.batch_size)
    if job.default_steps:
        model.fit(data.map(lambda x, y: (to_network_input(x), y)).take(job.default_steps), verbose=0)
    # Batch norm is not folded in this graph, so it has no integer form.
    return row_of(model, job, exact=False)


def ours(name: str, **changes) -> Callable[[Job], Row]:
    """`quant.finetune` by the flags given, but for `changes`, in a run folder of its own."""

    def row(job: Job) -> Row:
        config = dataclasses.replace(job.finetune, **changes)
        summary = run_finetune(str(job.folder / name), config)
        model, _ = load_qat_model(summary["model"])
        return row_of(model, job)

    return row


def _rows(changes: dict[str, dict]) -> dict[str, Callable[[Job], Row]]:
    return {name: ours(name, **change) for name, change in changes.items()}


def unavailable(name: str) -> str:
    """Why a row cannot be computed here, in a sentence; "" where it can."""
    return ai_edge_rows.unavailable() if name.startswith("ai_edge") else ""


_RANGES_ONLY = {"steps": 0, "equalize": False, "rounding": "nearest"}
MAIN: dict[str, Callable[[Job], Row]] = {
    "post_training": post_training,
    "ai_edge": ai_edge(ai_edge_rows.moving_average),
    "ai_edge_minmax": ai_edge(ai_edge_rows.extremes),
    "tfmot_default": tfmot_default,
    **_rows({"ours_ranges": _RANGES_ONLY, "ours": {}, "ours_fine_tuned": {"steps": _STEPS}}),
}
ALL: dict[str, Callable[[Job], Row]] = {
    **MAIN,
    # Built up: one thing more in each row.
    **_rows(
        {
            "minmax": {**_RANGES_ONLY, "range_method": "minmax"},
            "percentile": {**_RANGES_ONLY, "range_method": "percentile"},
            "equalized": {**_RANGES_ONLY, "equalize": True},
            "bias_corrected": {"rounding": "bias"},
        }
    ),
    # One thing changed in each row, from "ours".
    **_rows(
        {
            "no_equalization": {"equalize": False},
            "few_calibration": {"calibration_images": 64},
        }
    ),
    # One thing changed in each row, from "ours_fine_tuned".
    **_rows(
        {
            "rate_x10": {"steps": _STEPS, "learning_rate": 10 * FinetuneConfig.learning_rate},
            "steps_x3": {"steps": 3 * _STEPS},
            "labels": {"steps": _STEPS, "distillation": 0.0},
            "no_features": {"steps": _STEPS, "features": 0.0},
            "no_augmentation": {"steps": _STEPS, "augmentation": NO_AUGMENTATION},
            "ranges_follow": {"steps": _STEPS, "frozen_share": 0.0},
        }
    ),
}


def row_of(model: keras.Model, job: Job, exact: bool = True) -> Row:
    """Converts a fake-quantized model and runs both."""
    content = convert_keras(model, "uint8", "uint8", quantized=True)
    integer = predict(IntegerModel(model), job.images) if exact else _NONE
    return Row(run_file(content, job.images), predict(model, job.images), integer, len(content))


def predict(model: Callable, images: np.ndarray) -> np.ndarray:
    """Logits of uint8 images."""
    return np.concatenate(
        [
            np.asarray(model(to_network_input(images[i : i + _BATCH]), training=False))
            for i in range(0, len(images), _BATCH)
        ]
    )
