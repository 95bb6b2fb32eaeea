"""The network with fake quantizers: built from a float model, saved and loaded."""

import dataclasses
import pathlib

import tf_keras as keras

from nas_tf.base.errors import require
from nas_tf.network import model_folder
from nas_tf.network.build import build_network
from nas_tf.network.model_folder import ModelDescription
from quant import scheme

# Saved with every model and compared on loading: under another scheme the same weights mean another network.
SCHEME_NAME = "per-channel-int8/1"


def quantized_description(description: ModelDescription, fold: bool = True) -> ModelDescription:
    """The description of the fake-quantized network made of a float network."""
    return dataclasses.replace(
        description, kind="qat", quantization={"scheme": SCHEME_NAME, "fold_batch_norm": fold}
    )


def build_qat_model(float_model: keras.Model, description: ModelDescription) -> keras.Model:
    """The fake-quantized form of `float_model`, with its weights; activation ranges are unset.

    Args:
      float_model: network of the description's architecture; left unchanged.
      description: its description; of kind "qat" or "float" (then with default settings).

    Returns:
      Model from images [N,R,R,3] to logits [N, num_classes], on the int8 grid.
    """
    fold = bool(description.quantization.get("fold_batch_norm", True))
    qat_model, _, _ = scheme.quantize(float_model, fold)
    return qat_model


def empty_qat_model(description: ModelDescription) -> keras.Model:
    """The fake-quantized network of a description, with fresh weights and unset ranges."""
    return build_qat_model(
        build_network(description.architecture, description.resolution, description.num_classes), description
    )


def load_qat_model(folder: str | pathlib.Path) -> tuple[keras.Model, ModelDescription]:
    """The fake-quantized network of a model folder, bit for bit as it was saved.

    Raises:
      UserError: no such folder, a float model, or another scheme.
    """
    description = model_folder.read_description(folder)
    require(
        description.kind == "qat",
        f"{str(folder)!r} holds a {description.kind} model; a fine-tuned (qat) model is "
        "needed here: run quant.finetune on it first.",
    )
    found = description.quantization.get("scheme")
    require(
        found == SCHEME_NAME,
        f"{str(folder)!r} was quantized by the scheme {found!r}; this version reads {SCHEME_NAME!r}.",
    )
    # Built anew and filled with the weights: a fake-quantized model saved whole, as `.keras`, fails to load.
    model = empty_qat_model(description)
    model_folder.load_weights(folder, model)
    return model, description
