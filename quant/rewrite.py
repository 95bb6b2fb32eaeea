"""Brings a float model into the forms that fake quantization and the int8 kernels agree on.

tfmot recognises few spellings: `tf.nn.relu6`, `Conv2D(activation="relu6")`, `x + y` on
tensors are errors there, or silently stay float. Each is rewritten into separate Keras
layers that compute the same. Batch norm is folded into the convolution before it, which is
what the converter would do later: then the simulation quantizes the very kernels and biases
that the file holds.
"""

import dataclasses

import numpy as np
import tf_keras as keras

from nas_tf.base.errors import UserError
from nas_tf.data.config import PIXEL_STD
from nas_tf.network.layers import BorderPadding2D
from quant import int8
from quant.graph_config import GraphConfig, copy_weights
from quant.kernel_layout import against_kernel

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D")
_RELU_LIMITS = {"relu": None, "relu6": 6.0}
# What Keras calls the functions of a TFOpLambda layer, its form of an operation on tensors.
_RELU_OPS = {"nn.relu": None, "nn.relu6": 6.0}
_ADD_OPS = ("__operators__.add", "math.add")


@dataclasses.dataclass(frozen=True)
class Change:
    """One thing done by hand that tfmot's automatic pass does not do.

    Attributes:
      layer: name of the layer concerned.
      action: what was done, for a person.
    """

    layer: str
    action: str


def rewrite(
    model: keras.Model, fold: bool = True, snap_borders: bool = True
) -> tuple[keras.Model, list[Change]]:
    """The same function in quantizable layers.

    Args:
      model: functional float model, built; left unchanged.
      fold: whether batch norm is folded into convolutions.
      snap_borders: whether image borders are rounded to the input's grid, as int8 needs.

    Returns:
      (float model with the same outputs, but for rounded borders, the changes made other than folding).

    Raises:
      UserError: the model has a form that cannot be quantized.
    """
    graph = GraphConfig(model)
    changes = [
        *_replace_relu_forms(graph),
        *_split_activations(graph),
        *_replace_tensor_adds(graph),
        *(_snap_borders(graph) if snap_borders else ()),
    ]
    folded = _fold_batch_norms(graph, model) if fold else {}
    rewritten = graph.build({type(layer).__name__: type(layer) for layer in model.layers})
    copy_weights(model, rewritten)
    for name, weights in folded.items():
        rewritten.get_layer(name).set_weights(weights)
    return rewritten, changes


def _replace_relu_forms(graph: GraphConfig) -> list[Change]:
    changes = []
    for name in list(graph.layers):
        settings = graph.settings(name)
        limits, key = {"Activation": (_RELU_LIMITS, "activation"), "TFOpLambda": (_RELU_OPS, "function")}.get(
            graph.class_name(name), ({}, "")
        )
        if settings.get(key) in limits:
            graph.replace(name, keras.layers.ReLU(limits[settings[key]]))
            changes.append(Change(name, f"{settings[key]} became a ReLU layer"))
    return changes


def _snap_borders(graph: GraphConfig) -> list[Change]:
    """Rounds image borders to the input's int8 grid; what is zero there becomes plain padding."""
    changes = []
    for name in list(graph.layers):
        # Registered classes have their package before the name: "nas_tf>BorderPadding2D".
        if graph.class_name(name).rpartition(">")[2] != BorderPadding2D.__name__:
            continue
        settings = graph.settings(name)
        # + 0.0, for a minus zero is not written as a zero.
        snapped = [float(int8.to_even(v * PIXEL_STD)) / PIXEL_STD + 0.0 for v in settings["border"]]
        layer = (
            BorderPadding2D(settings["padding"], snapped)
            if any(snapped)
            else keras.layers.ZeroPadding2D(settings["padding"])
        )
        graph.replace(name, layer)
        before, after = (", ".join(f"{v:.4g}" for v in border) for border in (settings["border"], snapped))
        changes.append(
            Change(
                name,
                f"image border ({before}) became ({after}), rounded to the input's step of 1/{PIXEL_STD:.0f}",
            )
        )
    return changes


def _split_activations(graph: GraphConfig) -> list[Change]:
    changes = []
    for name in list(graph.layers):
        settings = graph.settings(name)
        activation = settings.get("activation")
        if graph.class_name(name) in (*CONVOLUTIONS, "Dense") and activation in _RELU_LIMITS:
            settings["activation"] = "linear"
            relu = keras.layers.ReLU(_RELU_LIMITS[activation], name=f"{name}_relu")
            graph.insert_after(name, relu)
            changes.append(Change(name, f"its activation {activation} became a layer of its own"))
    return changes


def _replace_tensor_adds(graph: GraphConfig) -> list[Change]:
    changes = []
    for name in list(graph.layers):
        is_add = graph.class_name(name) == "TFOpLambda" and graph.settings(name)["function"] in _ADD_OPS
        # x + constant has one input, and an Add layer needs two.
        if is_add and len(graph.inputs(name)) == 2:
            graph.replace(name, keras.layers.Add())
            changes.append(Change(name, "x + y became an Add layer, with a fake quantizer"))
    return changes


def _fold_batch_norms(graph: GraphConfig, model: keras.Model) -> dict[str, list[np.ndarray]]:
    """Removes batch norms from the graph; returns the folded convolutions' weights by name."""
    folded = {}
    for name in [n for n in graph.layers if graph.class_name(n) == "BatchNormalization"]:
        (source,) = graph.inputs(name)
        if (
            graph.class_name(source) not in CONVOLUTIONS
            or len(graph.consumers(source)) != 1
            or graph.settings(source)["activation"] != "linear"
        ):
            raise UserError(
                f"The batch norm {name!r} follows {source!r} ({graph.class_name(source)}); it can "
                "be quantized only straight after a convolution that feeds nothing else."
            )
        folded[source] = folded_weights(model.get_layer(source), model.get_layer(name))
        # For what the batch norm adds.
        graph.settings(source)["use_bias"] = True
        graph.remove(name)
    return folded


def folded_weights(convolution: keras.layers.Layer, batch_norm: keras.layers.Layer) -> list[np.ndarray]:
    """[kernel, bias] of one convolution that equals `batch_norm(convolution(x))` in inference.

    Source: Jacob et al. 2018, equation 14.
    """
    # float64, so that folding rounds once, at the end.
    kernel = convolution.get_weights()[0].astype(np.float64)
    bias = convolution.get_weights()[1].astype(np.float64) if convolution.use_bias else 0.0
    mean = batch_norm.moving_mean.numpy().astype(np.float64)
    variance = batch_norm.moving_variance.numpy().astype(np.float64)
    gamma = batch_norm.gamma.numpy() if batch_norm.scale else 1.0
    beta = batch_norm.beta.numpy() if batch_norm.center else 0.0
    # scale = gamma / sqrt(variance + epsilon);  kernel' = kernel · scale;
    # bias' = beta + (bias − mean) · scale
    scale = gamma / np.sqrt(variance + batch_norm.epsilon)
    folded = kernel * against_kernel(scale, convolution)
    return [folded.astype(np.float32), (beta + (bias - mean) * scale).astype(np.float32)]
