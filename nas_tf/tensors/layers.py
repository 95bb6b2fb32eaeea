"""Builders of the layers that a network is made of, in forms that fake quantization accepts.

Every tensor is NHWC float. Layers are separate (convolution, batch norm, ReLU6) and not
fused or nested, because tfmot recognises conv–BN–ReLU only as separate Keras layers.
"""

import math

import tf_keras as keras

from nas_tf.space.layer_spec import BlockSpec, HeadSpec, StemSpec
from nas_tf.space.operations import Zero

BN_MOMENTUM = 0.9  # Keras' convention; PyTorch writes 0.1
BN_EPSILON = 1e-3


def he_fan_out(kernel: int, filters: int) -> keras.initializers.Initializer:
    """Normal with variance 2 / (kernel² · filters) (He et al., 2015, fan-out)."""
    return keras.initializers.RandomNormal(stddev=math.sqrt(2.0 / (kernel**2 * filters)))


def batch_norm(name: str) -> keras.layers.Layer:
    """Batch normalization with the paper's constants."""
    return keras.layers.BatchNormalization(
        momentum=BN_MOMENTUM, epsilon=BN_EPSILON, name=name)


def convolution(x, filters: int, kernel: int, stride: int, name: str, padding: str = "same",
                relu: bool = True):
    """Convolution, batch norm and (unless `relu` is False) ReLU6: [N,H,W,C] → [N,H/s,W/s,filters]."""
    x, mode = _padded(x, kernel, stride, padding, name)
    x = keras.layers.Conv2D(filters, kernel, stride, mode, use_bias=False, name=f"{name}_conv",
                            kernel_initializer=he_fan_out(kernel, filters))(x)
    return _normalized(x, name, relu)


def depthwise(x, kernel: int, stride: int, name: str, padding: str = "same"):
    """Depthwise convolution, batch norm, ReLU6: [N,H,W,C] → [N,H/s,W/s,C]."""
    x, mode = _padded(x, kernel, stride, padding, name)
    x = keras.layers.DepthwiseConv2D(kernel, stride, mode, use_bias=False, name=f"{name}_conv",
                                     depthwise_initializer=he_fan_out(kernel, 1))(x)
    return _normalized(x, name, relu=True)


def build_operation(x, spec: BlockSpec, name: str, padding: str = "same"):
    """The block of `spec` on `x`, shortcut included."""
    if isinstance(spec.operation, Zero):
        return x
    y = x
    if spec.operation.expansion > 1:
        y = convolution(y, spec.hidden_width, 1, 1, f"{name}_expand", padding)
    y = depthwise(y, spec.operation.kernel, spec.stride, f"{name}_depthwise", padding)
    y = convolution(y, spec.output_width, 1, 1, f"{name}_project", padding, relu=False)
    return keras.layers.Add(name=f"{name}_add")([x, y]) if spec.has_shortcut else y


def build_stem(x, spec: StemSpec, padding: str = "same"):
    """The first convolution."""
    return convolution(x, spec.output_width, spec.kernel, spec.stride, "stem", padding)


def build_head(x, spec: HeadSpec):
    """1×1 convolution and global average pooling: [N,H,W,C] → [N,1,1,spec.output_width]."""
    x = convolution(x, spec.output_width, 1, 1, "head")
    return keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)


def build_classifier(x, num_classes: int, dropout: float = 0.0):
    """Logits [N, num_classes] of pooled features [N,1,1,C].

    A 1×1 convolution and not a dense layer: only so does the converter keep one scale a class.
    """
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    x = keras.layers.Conv2D(num_classes, 1, name="logits",
                            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01))(x)
    # float32 also under mixed precision, for a loss without overflow.
    return keras.layers.Flatten(name="flatten", dtype="float32")(x)


def _padded(x, kernel: int, stride: int, padding: str, name: str):
    """Explicit zeros where symmetric padding differs from TensorFlow's SAME."""
    if padding == "same" or stride == 1:
        return x, "same"
    return keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x), "valid"


def _normalized(x, name: str, relu: bool):
    x = batch_norm(f"{name}_bn")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x
