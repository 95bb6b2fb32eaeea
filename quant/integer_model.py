"""The fake-quantized network computed in integers, exactly as the int8 kernels do.

The fake-quant graph computes the same numbers in float. Its sums are off by some 1e-6 of
their size, and now and then that turns a rounding the other way; a later layer spreads such
a difference over its whole receptive field, so that in a deep network the two end up with
independent rounding errors. Here sums are of integers, and every rescaling uses the kernels'
own formula, so the result is the file's, bit for bit.

Source of the formulas: XNNPACK's reference requantization (`fp32` variant) and `qs8-vadd`.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.python.core.quantization.keras import quantize_layer

from nas_tf.base.errors import UserError, require
from quant import int8
from quant.int8 import Grid
from quant.keras_graph import inner, source_names
from quant.kernel_layout import is_depthwise
from quant.quantizer_list import ActivationRange, activation_ranges, following_range, kernel_ranges

# XNNPACK picks the shift with which the larger of an addition's two multipliers is in [2^20, 2^21).
_ADD_MULTIPLIER_BITS = 20


# Sums and means need a grid of their own; where their range stands behind a ReLU, they have none.
_COMPUTED = (keras.layers.Add, keras.layers.GlobalAveragePooling2D)


def grid_of(entry: ActivationRange) -> Grid:
    """The grid of a range; `UserError` for one that is not set."""
    low, high = (float(np.float32(v)) for v in entry.value)
    require(high > low, f"The range of {entry.source!r} was never set; calibrate first.")
    return Grid.of_range(low, high)


class NoIntegerForm(UserError):
    """A layer whose integer kernel is not imitated here."""


def simulation(qat_model: keras.Model) -> Callable:
    """What the int8 file will answer: images float32 [N,R,R,3] → logits float32.

    In integers where every layer has an integer form; else the fake-quant graph itself, whose
    float sums now and then turn a rounding the other way.
    """
    try:
        return IntegerModel(qat_model)
    except NoIntegerForm:
        return qat_model


class IntegerModel:
    """A fake-quantized model in integer arithmetic.

    Call it as the Keras model: images float32 [N,R,R,3] to logits float32 [N, classes].
    """

    def __init__(self, qat_model: keras.Model):
        self._model = qat_model
        self._ranges = {r.layer.name: r for r in activation_ranges(qat_model)}
        self._kernels = {k.layer.name: k for k in kernel_ranges(qat_model)}
        self._grids: dict[str, Grid] = {}
        self._steps: list[tuple[str, list[str], Callable]] = []
        for layer in qat_model.layers:
            if not isinstance(layer, keras.layers.InputLayer):
                self._add_layer(layer)
        self._run = tf.function(self._compute)

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Logits float32 on the output grid."""
        # The argument is there so that the simulation can stand where a Keras model does.
        assert not training
        values = self._run(tf.convert_to_tensor(images))
        name = self._model.layers[-1].name
        return values[name] * self._grids[name].scale

    def layer_values(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Every layer's output, float32 holding integers relative to the zero point."""
        return self._run(tf.convert_to_tensor(images))

    def grid(self, name: str) -> Grid:
        """The grid of a layer's output."""
        return self._grids[name]

    def _compute(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        values = {self._model.layers[0].name: images}
        for name, sources, step in self._steps:
            values[name] = step(*(values[source] for source in sources))
        return values

    def _add_layer(self, layer: keras.layers.Layer) -> None:
        names = source_names(layer)
        step, grid = self._step_of(layer, inner(layer), names)
        self._steps.append((layer.name, names, step))
        self._grids[layer.name] = grid

    def _step_of(self, layer, inner, names: list[str]) -> tuple[Callable, Grid]:
        # None where tfmot put no range: padding and the like, and what the int8 kernel fuses with its ReLU.
        own = grid_of(self._ranges[layer.name]) if layer.name in self._ranges else None
        if isinstance(layer, quantize_layer.QuantizeLayer):
            return _quantize(own), own
        given = [self._grids[name] for name in names]
        if isinstance(inner, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            # The kernel of a convolution computes its ReLU as well and writes on the ReLU's grid.
            out = own or grid_of(following_range(self._model, layer))
            return _convolution(self._kernels[layer.name], inner, given[0], out), out
        if isinstance(inner, keras.layers.ReLU):
            # The convolution before it is on this grid already, so only clipping is left.
            return _relu(inner, given[0]), given[0]
        if isinstance(inner, keras.layers.Add) and own:
            return _add(*given, own), own
        if isinstance(inner, keras.layers.GlobalAveragePooling2D) and own:
            return _mean(inner, given[0], own), own
        # Padding, flattening: integers in, the same integers out.
        if own is None and not isinstance(inner, _COMPUTED):
            return inner, given[0]
        raise NoIntegerForm(f"The layer {inner.name!r} ({type(inner).__name__}) has no integer form here.")


def _quantize(grid: Grid) -> Callable:
    return lambda x: tf.clip_by_value(tf.round(x / grid.scale), float(grid.low), float(grid.high))


def _requantize(accumulator: tf.Tensor, multiplier: np.ndarray, grid: Grid) -> tf.Tensor:
    """round-half-even(clip(float32(accumulator) · multiplier)), all in float32."""
    return tf.round(tf.clip_by_value(accumulator * multiplier, float(grid.low), float(grid.high)))


def _convolution(kernel, layer, given: Grid, out: Grid) -> Callable:
    # float32, as in the file: the multiplier below must be the kernel's own to the bit.
    scales = kernel.scales.astype(np.float32)
    steps = kernel.kernel.numpy() / kernel.against_kernel(scales)
    # Half up as the converter rounds kernels; biases, below, it rounds to even.
    weights = int8.kernel_integers(steps, int8.half_up).astype(np.float32)
    # bias_int = round(bias / (s_in · s_kernel));  multiplier = s_in · s_kernel / s_out
    step = given.scale.astype(np.float64) * scales
    bias = np.zeros(1) if kernel.bias is None else int8.to_even(kernel.bias.numpy().astype(np.float64) / step)
    multiplier = given.scale * scales / out.scale
    strides, padding = layer.strides, layer.padding.upper()

    # A sum of products and such a bias may need more bits than float32 has.
    # 2^23 leaves as much again to the products below 2^24.
    large = bool(np.max(np.abs(bias)) >= 2.0**23)

    def compute(x: tf.Tensor) -> tf.Tensor:
        # float32 holds integers below 2^24 exactly, which sums of up to 518 products never
        # exceed and longer ones do not in practice.
        if is_depthwise(layer):
            sums = tf.nn.depthwise_conv2d(x, weights, [1, *strides, 1], padding)
        else:
            sums = tf.nn.conv2d(x, weights, strides, padding)
        if large:  # the kernel's int32 sum, rounded once to float32
            total = tf.cast(tf.cast(sums, tf.float64) + bias, tf.float32)
        else:
            total = sums + bias.astype(np.float32)
        return _requantize(total, multiplier, out)

    return compute


def _relu(layer: keras.layers.ReLU, grid: Grid) -> Callable:
    limit = np.inf if layer.max_value is None else float(int8.to_even(layer.max_value / grid.scale))
    return lambda x: tf.clip_by_value(x, 0.0, min(limit, float(grid.high)))


def _add(first: Grid, second: Grid, out: Grid) -> Callable:
    """(a·m_a + b·m_b + 2^(shift−1)) >> shift, with 21-bit multipliers.

    In float64, which holds these integers exactly: 21 bits times 9 bits, twice.
    """
    # float32, as the kernel computes them: another last bit could give other multipliers.
    ratios = np.float32([first.scale / out.scale, second.scale / out.scale])
    exponent = int(np.floor(np.log2(ratios.max())))
    shift = _ADD_MULTIPLIER_BITS - exponent
    multipliers = int8.to_even(ratios.astype(np.float64) * 2.0**shift)

    def compute(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        total = tf.cast(a, tf.float64) * multipliers[0] + tf.cast(b, tf.float64) * multipliers[1]
        total = tf.floor(total / 2.0**shift + 0.5)
        return tf.cast(tf.clip_by_value(total, float(out.low), float(out.high)), tf.float32)

    return compute


def _mean(layer: keras.layers.GlobalAveragePooling2D, given: Grid, out: Grid) -> Callable:
    def compute(x: tf.Tensor) -> tf.Tensor:
        count = np.float32(x.shape[1] * x.shape[2])
        # mean / s_out = Σ x · s_in / (s_out · H · W): one rescaling of the sum, and so one rounding.
        multiplier = given.scale / (out.scale * count)
        return _requantize(tf.reduce_sum(x, [1, 2], keepdims=layer.keepdims), multiplier, out)

    return compute
