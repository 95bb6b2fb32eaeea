"""Builders of the layers that a network is made of, in forms that fake quantization accepts.

Every tensor is NHWC float. Layers are separate (convolution, batch norm, ReLU) and not
fused or nested, because tfmot recognises conv–BN–ReLU only as separate Keras layers.
"""

import dataclasses
import math
from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from nas_tf.space.layer_spec import BlockSpec, FeaturesSpec, HeadSpec, LayerSpec, StemSpec
from nas_tf.space.operations.operation import Convolution

# Both as in the ProxylessNAS authors' code.
BN_MOMENTUM = 0.9  # Keras' convention; PyTorch writes 0.1
BN_EPSILON = 1e-3
# Largest value that each activation of `nas_tf.space.architecture.ACTIVATIONS` lets through.
_ACTIVATION_LIMIT = {"relu6": 6.0, "relu": None}


@dataclasses.dataclass(frozen=True)
class Style:
    """What all convolutions of a network have in common; attributes as of `Architecture`.

    Attributes:
      padding: "same" or "symmetric"; here also "valid", for an image that is padded already.
    """

    padding: str = "same"
    activation: str = "relu6"


PLAIN = Style()


@keras.saving.register_keras_serializable("nas_tf")
class BorderPadding2D(keras.layers.Layer):
    """Pads images with one color: [N,H,W,C] → [N,H+2p,W+2p,C].

    Made of concatenations, which the int8 kernels do without rounding; a padding operator
    knows one value for all channels only.
    """

    def __init__(self, padding: int, border, **kwargs):
        super().__init__(**kwargs)
        self.padding, self.border = padding, [float(v) for v in border]

    def call(self, inputs):
        color = tf.constant(self.border, inputs.dtype)
        count, (_, height, width, channels) = tf.shape(inputs)[0], inputs.shape
        rows = tf.broadcast_to(color, [count, self.padding, width, channels])
        x = tf.concat([rows, inputs, rows], axis=1)
        columns = tf.broadcast_to(color, [count, height + 2 * self.padding, self.padding, channels])
        return tf.concat([columns, x, columns], axis=2)

    def get_config(self):
        return {**super().get_config(), "padding": self.padding, "border": self.border}


def he_fan_out(kernel: int, filters: int) -> keras.initializers.Initializer:
    """Normal with variance 2 / (kernel² · filters) (He et al., 2015, fan-out)."""
    return keras.initializers.RandomNormal(stddev=math.sqrt(2.0 / (kernel**2 * filters)))


def batch_norm(name: str) -> keras.layers.Layer:
    """Batch normalization with the paper's constants."""
    return keras.layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON, name=name)


def convolution(
    filters: int, kernel: int, stride: int, name: str, style: Style = PLAIN, relu: bool = True
) -> list[keras.layers.Layer]:
    """Convolution, batch norm and (unless `relu` is False) activation: [N,H,W,C] → [N,H/s,W/s,filters]."""
    pad, mode = _padding(kernel, stride, style.padding, name)
    # No bias, because batch norm subtracts it again and has a shift of its own.
    conv = keras.layers.Conv2D(
        filters,
        kernel,
        stride,
        mode,
        use_bias=False,
        name=f"{name}_conv",
        kernel_initializer=he_fan_out(kernel, filters),
    )
    return [*pad, conv, *_normalization(name, style, relu)]


def depthwise(
    kernel: int,
    stride: int,
    name: str,
    style: Style = PLAIN,
    relu: bool = True,
) -> list[keras.layers.Layer]:
    """Depthwise convolution, batch norm, activation (unless `relu` is False): [N,H,W,C] → [N,H/s,W/s,C]."""
    pad, mode = _padding(kernel, stride, style.padding, name)
    # Each channel feeds one channel, so the fan-out is kernel² · 1.
    conv = keras.layers.DepthwiseConv2D(
        kernel, stride, mode, use_bias=False, name=f"{name}_conv", depthwise_initializer=he_fan_out(kernel, 1)
    )
    return [*pad, conv, *_normalization(name, style, relu)]


def operation_layers(
    spec: BlockSpec,
    name: str,
    style: Style = PLAIN,
) -> list[keras.layers.Layer]:
    """The chain of layers of `spec` beside its shortcut; none for ZeroOp.

    The one builder of an operation: the compact network and the supernet both call it.
    """
    return [
        layer
        for part in spec.convolutions
        for layer in convolution_layers(part, f"{name}_{part.name}", style)
    ]


def convolution_layers(
    part: Convolution,
    name: str,
    style: Style = PLAIN,
) -> list[keras.layers.Layer]:
    """One convolution of an operation with its batch norm and activation."""
    if part.depthwise:
        return depthwise(part.kernel, part.stride, name, style, part.activation)
    return convolution(part.output_width, part.kernel, part.stride, name, style, part.activation)


def build_operation(x, spec: BlockSpec, name: str, style: Style = PLAIN):
    """The block of `spec` on `x`, shortcut included."""
    y = apply_chain(operation_layers(spec, name, style), x)
    if spec.is_skipped:
        return x
    if not spec.has_shortcut:
        return y
    # The layer and not `x + y`: on that tfmot fails, or leaves a float addition between int8 layers.
    return keras.layers.Add(name=f"{name}_add")([x, y])


def stem_layers(spec: StemSpec, style: Style = PLAIN) -> list[keras.layers.Layer]:
    """The first convolution."""
    return convolution(spec.output_width, spec.kernel, spec.stride, "stem", style)


def build_stem(x, spec: StemSpec, style: Style = PLAIN, image_border=(0.0, 0.0, 0.0)):
    """The first convolution on `x`, padded with `image_border` if that is not zero."""
    if style.padding == "symmetric" and any(image_border):
        x = BorderPadding2D(spec.kernel // 2, image_border, name="stem_pad")(x)
        style = dataclasses.replace(style, padding="valid")
    return apply_chain(stem_layers(spec, style), x)


def head_layers(spec: HeadSpec, style: Style = PLAIN) -> list[keras.layers.Layer]:
    """1×1 convolution and global average pooling: [N,H,W,C] → [N,1,1,spec.output_width]."""
    return [*convolution(spec.output_width, 1, 1, "head", style), pooling()]


def pooling() -> keras.layers.Layer:
    """Global average pooling, [N,H,W,C] → [N,1,1,C]."""
    # [N,1,1,C], because the classifier is a convolution.
    return keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool")


def feature_layers(spec: FeaturesSpec, style: Style = PLAIN) -> list[keras.layers.Layer]:
    """1×1 convolution behind the pooling: [N,1,1,C] → [N,1,1,spec.output_width]."""
    return convolution(spec.output_width, 1, 1, "features", style)


def layers_after(
    specs: Sequence[LayerSpec], style: Style = PLAIN, dropout: float = 0.0
) -> list[keras.layers.Layer]:
    """All that follows the blocks: [N,H,W,C] → logits [N, classes].

    Args:
      specs: of `nas_tf.space.layer_spec.layers_after`.
      dropout: rate before the classifier.
    """
    head, *features, classifier = specs
    chain = head_layers(head, style)
    for spec in features:
        chain += feature_layers(spec, style)
    return chain + classifier_layers(classifier.output_width, dropout)


def classifier_layers(num_classes: int, dropout: float = 0.0) -> list[keras.layers.Layer]:
    """Logits [N, num_classes] of pooled features [N,1,1,C].

    A 1×1 convolution and not a dense layer: only so does the converter keep one scale per class.
    """
    conv = keras.layers.Conv2D(
        num_classes, 1, name="logits", kernel_initializer=keras.initializers.RandomNormal(stddev=0.01)
    )
    # Flatten and not Reshape, which leaves SHAPE and PACK operations where the batch is not fixed.
    # float32 also under mixed precision, for a loss without overflow.
    chain = [conv, keras.layers.Flatten(name="flatten", dtype="float32")]
    return [keras.layers.Dropout(dropout, name="dropout"), *chain] if dropout else chain


def _padding(kernel: int, stride: int, padding: str, name: str):
    """Explicit zeros where symmetric padding differs from TensorFlow's SAME, and the mode."""
    if padding == "valid":
        return [], "valid"
    # With stride 1 and an odd kernel, SAME is symmetric.
    if padding == "same" or stride == 1:
        return [], "same"
    return [keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")], "valid"


def _normalization(name: str, style: Style, relu: bool) -> list[keras.layers.Layer]:
    norm = batch_norm(f"{name}_bn")
    if not relu:
        return [norm]
    # The layer, since tfmot fails on tf.nn.relu6 and quantizes Activation("relu6") twice.
    return [norm, keras.layers.ReLU(_ACTIVATION_LIMIT[style.activation], name=f"{name}_relu")]


def apply_chain(chain: list[keras.layers.Layer], x):
    """The layers one after the other on `x`."""
    for layer in chain:
        x = layer(x)
    return x
