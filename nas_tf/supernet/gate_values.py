"""What the gate of an inactive path is worth: F(x) for its gradient alone, made cheap.

Nothing flows back through an inactive path, so its batch norms need not be computed as layers:
the one behind the expanding 1×1 convolution follows from the moments of the narrow input.
"""

from collections.abc import Sequence
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
    # covariance = Σ (x − mean)(x − mean)ᵀ / n: by n and not n − 1, as batch norm divides. Centred
    # before the product, because E[x·xᵀ] − mean·meanᵀ loses float32's digits where the mean is large.
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
    """∂L/∂g = Σ F(x) · ∂L/∂y, a scalar, with F as in training: batch norm by the batch.

    Args:
      chain: F.
      x: the block's input, [N, H, W, C].
      output_gradient: ∂L/∂y of the block's output y.
      weights, layout: as of `Chain.run`.
      moments: of x.
    """
    y = _run(chain, x, chain.values(weights, layout), moments)
    # Summed in float32 also under mixed precision: thousands of terms of both signs.
    return tf.reduce_sum(tf.cast(y, tf.float32) * tf.cast(output_gradient, tf.float32))


def _run(chain: Chain, x: tf.Tensor, values: list[dict[str, tf.Tensor]], moments: Moments) -> tf.Tensor:
    """F(x), with an expanding 1×1 convolution and its batch norm in one."""
    fold = _folding(chain)
    for positions, optional in chain.groups:

        def run(x, mean, covariance, positions=positions):
            x = _run_layers(chain, positions, x, values, Moments(mean, covariance), fold)
            # What is folded later needs the moments of what stands before it.
            return x, *(moments_of(x) if fold is not None and positions.stop <= fold else (mean, covariance))

        x, *found = chain.if_present(positions, optional, values, run, (x, *moments))
        moments = Moments(*found)
    return x


def _run_layers(
    chain: Chain,
    positions: range,
    x: tf.Tensor,
    values: list[dict[str, tf.Tensor]],
    moments: Moments,
    fold: int | None,
) -> tf.Tensor:
    position = positions.start
    while position < positions.stop:
        layer, own = chain.layers[position], values[position]
        x = tf.cast(x, layer.compute_dtype)
        if position == fold:
            norm, of_norm = chain.layers[position + 1], values[position + 1]
            x = _folded(layer, norm, x, own["kernel"], of_norm, moments)
            position += 1
        elif isinstance(layer, keras.layers.BatchNormalization):
            x = _normalized(layer, x, own)
        else:
            x = compute(layer, x, own)
        position += 1
    return x


def _folding(chain: Chain) -> int | None:
    """Position of a plain 1×1 convolution with its batch norm that begins the chain, or None.

    What is optional may stand before it.
    """
    for positions, optional in chain.groups:
        if not optional:
            return positions.start if _folds(chain.layers[positions.start :]) else None
    return None


def _folds(layers: Sequence[keras.layers.Layer]) -> bool:
    """Whether the layers begin with a plain 1×1 convolution and its batch norm."""
    # The input's moments give the output's only where one output position comes from one input
    # position (1×1) and every position is used (no stride). Blocks of expansion 1 have no such
    # convolution.
    first, second = layers[:2]
    return (
        isinstance(first, keras.layers.Conv2D)
        and not isinstance(first, keras.layers.DepthwiseConv2D)
        and first.kernel_size == (1, 1)
        and first.strides == (1, 1)
        and not first.use_bias
        and isinstance(second, keras.layers.BatchNormalization)
    )


def _folded(
    convolution: keras.layers.Conv2D,
    norm: keras.layers.BatchNormalization,
    x: tf.Tensor,
    kernel: tf.Tensor,
    own: dict[str, tf.Tensor],
    moments: Moments,
) -> tf.Tensor:
    """Convolution and batch norm as one convolution, whose wide output is never looked at twice.

    For z = Wᵀx: mean z = Wᵀ·mean x and variance z_c = w_cᵀ·covariance x·w_c. With them batch norm
    is s·z + t, and s·(Wᵀx) + t = (W·s)ᵀx + t.
    """
    matrix = tf.reshape(kernel, tf.shape(kernel)[2:])  # W: [C, wide]
    mean = tf.linalg.matvec(matrix, moments.mean, transpose_a=True)
    # The diagonal of Wᵀ·covariance·W alone: the whole product would be [wide, wide].
    variance = tf.reduce_sum(matrix * (moments.covariance @ matrix), 0)
    scale, shift = _affine(norm, own, mean, variance)
    y = compute(convolution, tf.cast(x, convolution.compute_dtype), {"kernel": kernel * scale})
    return tf.nn.bias_add(y, tf.cast(shift, y.dtype))


def _normalized(norm: keras.layers.BatchNormalization, x: tf.Tensor, own: dict[str, tf.Tensor]) -> tf.Tensor:
    """Batch norm by the batch. Its moments are taken in float32 also under mixed precision."""
    mean, variance = tf.nn.moments(tf.cast(x, tf.float32), [0, 1, 2])
    scale, shift = _affine(norm, own, mean, variance)
    return x * tf.cast(scale, x.dtype) + tf.cast(shift, x.dtype)


def _affine(
    norm: keras.layers.BatchNormalization, own: dict[str, tf.Tensor], mean: tf.Tensor, variance: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """(s, t), each [C], with batch norm's y = s·x + t."""
    # s = γ / √(variance + ε),  t = β − mean · s
    scale = own["gamma"] * tf.math.rsqrt(variance + norm.epsilon)
    return scale, own["beta"] - mean * scale
