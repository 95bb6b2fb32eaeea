"""What the gate of an inactive path is worth: F(x) for its gradient alone, made cheap.

Nothing flows back through an inactive path, so its batch norms need not be computed as layers:
the one behind the expanding 1×1 convolution follows from the moments of the narrow input.
"""

from typing import NamedTuple

import tensorflow as tf
import tf_keras as keras

from nas_tf.supernet.chains import Chain, compute


class Moments(NamedTuple):
    """Of a block's input over batch and positions: mean [C] and covariance [C, C]."""

    mean: tf.Tensor
    covariance: tf.Tensor


def moments_of(x: tf.Tensor) -> Moments:
    """Moments of [N, H, W, C], computed once for all paths of a block."""
    rows = tf.reshape(tf.cast(x, tf.float32), tf.stack([-1, tf.shape(x)[-1]]))
    mean = tf.reduce_mean(rows, 0)
    centered = rows - mean
    count = tf.cast(tf.shape(rows)[0], tf.float32)
    return Moments(mean, tf.matmul(centered, centered, transpose_a=True) / count)


def gate_value(
    chain: Chain,
    x: tf.Tensor,
    output_gradient: tf.Tensor,
    weights: tf.Tensor,
    layout: tf.Tensor | None,
    moments: Moments,
) -> tf.Tensor:
    """∂L/∂g = Σ F(x) · ∂L/∂y, a scalar, with F as in training: batch norm by the batch."""
    y = _run(chain, x, chain.values(weights, layout), moments)
    # Summed in float32 also under mixed precision: thousands of terms of both signs.
    return tf.reduce_sum(tf.cast(y, tf.float32) * tf.cast(output_gradient, tf.float32))


def _run(chain: Chain, x: tf.Tensor, values: list[dict[str, tf.Tensor]], moments: Moments):
    layers, start = chain.layers, 0
    if _folds(layers):
        x, start = _folded(layers[0], layers[1], x, values[0]["kernel"], values[1], moments), 2
    for layer, own in zip(layers[start:], values[start:], strict=True):
        x = tf.cast(x, layer.compute_dtype)
        if isinstance(layer, keras.layers.BatchNormalization):
            mean, variance = tf.nn.moments(tf.cast(x, tf.float32), [0, 1, 2])
            scale, shift = _affine(layer, own, mean, variance)
            x = x * tf.cast(scale, x.dtype) + tf.cast(shift, x.dtype)
        else:
            x = compute(layer, x, own)
    return x


def _folds(layers) -> bool:
    """Whether the chain begins with a plain 1×1 convolution and its batch norm."""
    first, second = layers[:2]
    return (
        isinstance(first, keras.layers.Conv2D)
        and first.kernel_size == (1, 1)
        and first.strides == (1, 1)
        and not first.use_bias
        and isinstance(second, keras.layers.BatchNormalization)
    )


def _folded(convolution, norm, x, kernel, own, moments: Moments) -> tf.Tensor:
    """Convolution and batch norm as one convolution.

    For z = Wᵀx: mean z = Wᵀ·mean x and variance z_c = w_cᵀ·covariance x·w_c.
    """
    matrix = tf.reshape(kernel, tf.shape(kernel)[2:])
    mean = tf.linalg.matvec(matrix, moments.mean, transpose_a=True)
    variance = tf.reduce_sum(matrix * (moments.covariance @ matrix), 0)
    scale, shift = _affine(norm, own, mean, variance)
    y = compute(convolution, tf.cast(x, convolution.compute_dtype), {"kernel": kernel * scale})
    return tf.nn.bias_add(y, tf.cast(shift, y.dtype))


def _affine(norm, own: dict[str, tf.Tensor], mean: tf.Tensor, variance: tf.Tensor):
    """(s, t) with batch norm's y = s·x + t."""
    # s = γ / √(variance + ε),  t = β − mean · s
    scale = own["gamma"] * tf.math.rsqrt(variance + norm.epsilon)
    return scale, own["beta"] - mean * scale
