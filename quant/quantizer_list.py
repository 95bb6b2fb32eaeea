"""Lists the fake quantizers of a Keras model: the one place that knows tfmot's layout of them."""

import dataclasses

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.python.core.quantization.keras import quantize_layer, quantize_wrapper
from tensorflow_model_optimization.python.core.quantization.keras import quantizers as tfmot_quantizers

from quant import int8, kernel_layout
from quant.keras_graph import consumers, inner, sources

# The converter takes a kernel range narrower than a millionth for one of this width, ±127 steps.
LEAST_KERNEL_SCALE = int8.kernel_scale(0.5e-6)


@dataclasses.dataclass(frozen=True)
class ActivationRange:
    """The range of a quantized activation.

    Attributes:
      layer: the Keras layer that holds it.
      source: name of the float layer whose output it quantizes.
      minimum, maximum: scalar variables; None where the range is a constant.
      fixed: the constant range, else None.
    """

    layer: keras.layers.Layer
    source: str
    minimum: tf.Variable | None
    maximum: tf.Variable | None
    fixed: tuple[float, float] | None = None

    @property
    def value(self) -> tuple[float, float]:
        """(minimum, maximum) as they are now."""
        return self.fixed or (float(self.minimum.numpy()), float(self.maximum.numpy()))

    @property
    def scale(self) -> float:
        """Width of one int8 step; 0 for an unset range."""
        low, high = self.value
        return int8.activation_scale(low, high)

    def assign(self, low: float, high: float) -> None:
        """Sets the range, widened to hold zero as every int8 range must."""
        self.minimum.assign(min(low, 0.0))
        self.maximum.assign(max(high, 0.0))


@dataclasses.dataclass(frozen=True)
class KernelRange:
    """The ranges of a quantized kernel.

    Attributes:
      layer: the wrapping Keras layer.
      source: name of the float layer.
      kernel: the unquantized kernel.
      minimum, maximum: variables [channels], or scalars for one range per tensor.
      bias: the layer's bias, or None.
    """

    layer: keras.layers.Layer
    source: str
    kernel: tf.Variable
    minimum: tf.Variable
    maximum: tf.Variable
    bias: tf.Variable | None

    @property
    def per_tensor(self) -> bool:
        """Whether one range serves the whole kernel."""
        return self.maximum.shape.rank == 0

    @property
    def channel_axis(self) -> int:
        """Axis of the output channels in the kernel."""
        return kernel_layout.channel_axis(self.layer.layer)

    @property
    def is_depthwise(self) -> bool:
        """Whether each input channel has a kernel of its own."""
        return kernel_layout.is_depthwise(self.layer.layer)

    def against_kernel(self, values):
        """`values`, [channels] or one for all, in a shape that broadcasts against the kernel."""
        return kernel_layout.against_kernel(values, self.layer.layer)

    @property
    def scales(self) -> np.ndarray:
        """Widths of int8 steps, one per channel (or one for all), as the file will have it."""
        return np.maximum(int8.kernel_scale(self.maximum.numpy().astype(np.float64)), LEAST_KERNEL_SCALE)

    @property
    def unit(self) -> tf.Tensor:
        """`scales` as a float32 tensor that broadcasts against the kernel."""
        return self.against_kernel(int8.kernel_scale(self.maximum))

    def fit(self) -> None:
        """Sets the ranges to the largest magnitudes of the kernel now."""
        magnitudes = np.abs(np.moveaxis(self.kernel.numpy(), self.channel_axis, -1))
        axes = None if self.per_tensor else tuple(range(magnitudes.ndim - 1))
        largest = magnitudes.max(axis=axes)
        self.minimum.assign(-largest)
        self.maximum.assign(largest)

    def raise_to(self, least: np.ndarray) -> None:
        """Widens the ranges of channels whose int8 step is under `least`, [channels]."""
        # One step for all channels has to suit the one that needs most.
        wanted = int8.KERNEL_HIGH * (least.max() if self.per_tensor else least)
        largest = np.maximum(self.maximum.numpy(), wanted.astype(np.float32))
        self.minimum.assign(-largest)
        self.maximum.assign(largest)


def activation_ranges(model: keras.Model) -> list[ActivationRange]:
    """Every activation range of the model, in the order of its layers."""
    ranges = []
    for layer in model.layers:
        if isinstance(layer, quantize_layer.QuantizeLayer):
            ranges.append(_of_quantize_layer(layer))
        elif isinstance(layer, quantize_wrapper.QuantizeWrapper):
            ranges += [
                ActivationRange(layer, layer.layer.name, pair["min_var"], pair["max_var"])
                for pair in _output_variables(layer)
            ]
    return ranges


def kernel_ranges(model: keras.Model) -> list[KernelRange]:
    """Every kernel range of the model, in the order of its layers."""
    # tfmot's wrapper keeps (weight, its quantizer, the range's variables) in `_weight_vars`.
    return [
        KernelRange(
            layer,
            layer.layer.name,
            kernel,
            pair["min_var"],
            pair["max_var"],
            getattr(layer.layer, "bias", None),
        )
        for layer in model.layers
        if isinstance(layer, quantize_wrapper.QuantizeWrapper)
        for kernel, _, pair in layer._weight_vars
    ]


def feeding_range(model: keras.Model, layer: keras.layers.Layer) -> ActivationRange:
    """The range of the tensor that reaches `layer`, through layers that do not requantize."""
    ranges = {r.layer.name: r for r in activation_ranges(model)}
    while True:
        # What has no range of its own, such as padding, reads one tensor.
        layer = sources(layer)[0]
        if layer.name in ranges:
            return ranges[layer.name]


def following_range(model: keras.Model, layer: keras.layers.Layer) -> ActivationRange:
    """The first range that the output of `layer` meets: its own, or its ReLU's."""
    ranges = {r.layer.name: r for r in activation_ranges(model)}
    while layer.name not in ranges:
        # Without a range of its own, a layer feeds the ReLU that its kernel fuses, and nothing else.
        layer = consumers(layer)[0]
    return ranges[layer.name]


def _of_quantize_layer(layer: keras.layers.Layer) -> ActivationRange:
    source = inner(sources(layer)[0]).name
    if isinstance(layer.quantizer, tfmot_quantizers.FixedQuantizer):
        fixed = (layer.quantizer.init_min, layer.quantizer.init_max)
        return ActivationRange(layer, source, None, None, fixed)
    pair = layer.quantizer_vars
    return ActivationRange(layer, source, pair["min_var"], pair["max_var"])


def _output_variables(layer: quantize_wrapper.QuantizeWrapper) -> list[dict]:
    """Range variables of the wrapper's output, or of the activation inside the layer."""
    # A convolution has no output quantizer: tfmot quantizes behind the activation inside of it.
    if layer._output_quantizers:
        return [layer._output_quantizer_vars]
    return [
        activation._post_activation_vars
        for activation in layer._quantize_activations
        if activation._should_post_quantize()
    ]
