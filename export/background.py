"""The background class: N classes become N + 1, background at index 0.

The paper gives the background the smallest of the N biases and the weights of a class chosen
at random among the other N − 1 (the *source* class). Its logit is then the source's minus a
fixed positive gap, so in real numbers it never wins. In int8 it does, for two reasons: a gap
under one output step is a tie, which argmax gives to index 0; and where the source's logit goes
beyond the output's range, both end at 127. So the bias is lowered further until the gap is a
margin of some steps, and `margin_steps` measures it on the converted file's integers.
"""

import copy
import dataclasses
import math

import numpy as np

from nas_tf.base.errors import UserError, require
from quant.flatbuffer import Graph, Operator, Tensor

LABEL = "background"
CLASSIFIER = "logits"
# A rescaled int32 is rounded twice (TFLite's fixed-point multiplier): a gap of exactly one step
# may come out as none, a twentieth more may not.
MIN_MARGIN_STEPS = 1.05
# An eighth of the output's range: how far a logit may go beyond it without a tie at its end
# (measured in BUILD_NOTES.md, "Background class").
DEFAULT_MARGIN_STEPS = 32.0
# Far over the rounding of float32 logits, far under what tells classes apart.
FLOAT_STEP = 1e-3


@dataclasses.dataclass(frozen=True)
class Background:
    """What the background class is made of.

    Attributes:
      source: index, among the N classes, of the class that lends its weights.
      bias: the background's bias.
    """

    source: int
    bias: float


def choose(biases: np.ndarray, seed: int) -> Background:
    """The paper's choice for classifier `biases` [N]: smallest bias, random other source.

    A source whose bias all but equals the smallest would tie in float too, so the gap is at
    least `FLOAT_STEP`.
    """
    require(len(biases) >= 2, f"A background class needs at least 2 classes, not {len(biases)}.")
    smallest = int(np.argmin(biases))
    # The class of the smallest bias itself would leave no gap at all.
    others = [i for i in range(len(biases)) if i != smallest]
    source = others[int(np.random.default_rng(seed).integers(len(others)))]
    return lowered(
        Background(source, float(biases[smallest])), float(biases[source]), FLOAT_STEP, MIN_MARGIN_STEPS
    )


def lowered(
    background: Background, source_bias: float, output_step: float, margin: float = DEFAULT_MARGIN_STEPS
) -> Background:
    """`background` with its bias lowered, if need be, to `margin` output steps under its source."""
    # bias = min(its own, source's − margin · s_out): a gap that is larger already stays.
    enough = source_bias - 1.02 * margin * output_step  # the bias itself is rounded too
    return dataclasses.replace(background, bias=min(background.bias, enough))


def extend(values: np.ndarray, background: Background, is_bias: bool) -> np.ndarray:
    """`values` [..., N] with the background put in front of the last axis: [..., N + 1]."""
    front = (
        np.full(values.shape[:-1] + (1,), background.bias, values.dtype)
        if is_bias
        else values[..., background.source : background.source + 1]
    )
    # In front, since TensorFlow's ImageNet models keep output 0 for the background.
    return np.concatenate([front, values], axis=-1)


def with_background(model, background: Background):
    """A copy of the Keras `model` (N classes) with background at index 0: N + 1 classes.

    Works on float networks and on those with fake quantizers; ranges come along.
    """
    # Here, since measuring a file's margin needs none of them.
    import tensorflow_model_optimization as tfmot
    import tf_keras as keras

    from quant.scheme import CUSTOM_OBJECTS

    config = copy.deepcopy(model.get_config())
    for layer in config["layers"]:
        # "quant_" is what tfmot puts before the name of a layer that it wraps.
        if layer["name"].removeprefix("quant_") == CLASSIFIER:
            # A wrapper for quantization holds the convolution's configuration inside its own.
            layer["config"].get("layer", layer)["config"]["filters"] += 1
    with tfmot.quantization.keras.quantize_scope(CUSTOM_OBJECTS):
        wider = keras.Model.from_config(config)
    refill(wider, model, background)
    return wider


def refill(wider, model, background: Background) -> None:
    """Sets all of `wider`, made by `with_background`, from `model` anew."""
    for layer in wider.layers:
        given = model.get_layer(layer.name).weights
        layer.set_weights(
            [_fitted(variable, old, background) for variable, old in zip(layer.weights, given, strict=True)]
        )


def _fitted(variable, old, background: Background) -> np.ndarray:
    values = old.numpy()
    if values.shape == tuple(variable.shape):
        return values
    # Kernel and ranges become one wider too and copy the source's; only the bias gets a value of its own.
    return extend(values, background, is_bias="bias" in old.name.split("/")[-1])


def classifier_biases(model) -> np.ndarray:
    """Biases [N] of the 1×1 convolution that ends the network, wrapped for quantization or not."""
    for layer in model.layers:
        if layer.name.removeprefix("quant_") == CLASSIFIER:
            return getattr(layer, "layer", layer).bias.numpy()
    raise UserError(f"The model has no layer named {CLASSIFIER!r}.")


@dataclasses.dataclass(frozen=True)
class Classifier:
    """The quantized classifier in a flatbuffer.

    Attributes:
      weights: int8, row i is class i.
      bias: int32 [classes].
      output: the logits.
    """

    input: Tensor
    weights: Tensor
    bias: Tensor
    output: Tensor


def find_classifier(graph: Graph) -> Classifier:
    """The last convolution or fully connected operator; `UserError` if there is none."""
    for operator in reversed(graph.operators):
        if operator.name in ("CONV_2D", "FULLY_CONNECTED"):
            return _classifier(graph, operator)
    raise UserError("The converted model has no classifier (convolution or fully connected).")


def _classifier(graph: Graph, operator: Operator) -> Classifier:
    require(len(operator.inputs) == 3, "The converted model's classifier has no bias.")
    inputs = [graph.tensors[i] for i in operator.inputs]
    require(
        inputs[1].values is not None and inputs[2].values is not None,
        "The converted model's classifier has no constant weights.",
    )
    return Classifier(*inputs, graph.tensors[operator.outputs[0]])


def margin_steps(classifier: Classifier, source: int) -> float:
    """How far background stays under its source class, in steps of the int8 logits.

    Proof from integers: equal weight rows give both accumulators the same sum, and equal
    multipliers rescale them alike, so their difference is that of the biases for every image:

      margin = (bias[source] − bias[0]) · s_in · s_w / s_out

    Args:
      classifier: of the converted model with N + 1 classes.
      source: index of the source class among the N.

    Raises:
      UserError: rows or multipliers differ, so nothing is proven.
    """
    weights, bias = classifier.weights, classifier.bias
    rows = weights.values.reshape(weights.shape[0], -1)
    index = source + 1
    require(
        weights.dtype == "int8" and bias.dtype == "int32",
        f"The classifier has {weights.dtype} weights and {bias.dtype} bias; int8 and int32 are needed.",
    )
    require(
        np.array_equal(rows[0], rows[index]),
        f"Background's weights differ from those of its source class {source}.",
    )
    scales = np.broadcast_to(weights.scales, rows.shape[:1])
    require(
        scales[0] == scales[index],
        f"Background's weight scale differs from that of its source class {source}.",
    )
    gap = int(bias.values[index]) - int(bias.values[0])
    return (
        gap * float(classifier.input.scales[0]) * float(scales[index]) / (float(classifier.output.scales[0]))
    )


def require_margin(steps: float) -> None:
    """Refuses a converted model in which background may tie with its source class."""
    require(
        math.isfinite(steps) and steps >= MIN_MARGIN_STEPS,
        f"Background stays only {steps:.3f} steps of the int8 logits under its source class; "
        f"at least {MIN_MARGIN_STEPS} are needed, or it may win a tie.",
    )
