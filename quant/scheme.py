"""Which tensor gets which fake quantizer: tfmot's default 8-bit scheme, mended.

What differs from the default scheme, and why, is in `BUILD_NOTES.md`, "Quantization".
"""

import tensorflow_model_optimization as tfmot
import tf_keras as keras
from tensorflow_model_optimization.python.core.quantization.keras import (
    quantize_aware_activation,
    quantize_layer,
    quantize_layout_transform,
    quantizers,
)
from tensorflow_model_optimization.python.core.quantization.keras import utils as quantize_utils
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_configs,
    default_8bit_quantize_registry,
    default_8bit_quantize_scheme,
    default_8bit_transforms,
)
from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations import (
    model_transformer,
    transforms,
)

from nas_tf.base.errors import require
from nas_tf.network.layers import BorderPadding2D
from quant.graph_config import GraphConfig, copy_weights
from quant.int8 import INPUT_RANGE
from quant.quantizers import ActivationQuantizer, DepthwiseKernelQuantizer
from quant.rewrite import Change, rewrite

INPUT_QUANTIZER_NAME = "input_quantize"
# Their int8 kernels rescale, so that the output has a range of its own; padding, flattening and the
# like keep the grid of their input.
_WEIGHTLESS_QUANTIZED = (
    keras.layers.ReLU,
    keras.layers.Add,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.Concatenate,
)


class OutputConfig(default_8bit_quantize_configs.Default8BitOutputQuantizeConfig):
    """Quantizes a layer's output with a range that starts unset."""

    def get_output_quantizers(self, layer):
        return [ActivationQuantizer()] if self.quantize_output else []


class ConvolutionConfig(default_8bit_quantize_registry.Default8BitConvQuantizeConfig):
    """Per-channel kernel, and the output where no ReLU follows."""

    def __init__(self, weight_attrs, activation_attrs, quantize_output):
        super().__init__(weight_attrs, activation_attrs, quantize_output)
        self.activation_quantizer = ActivationQuantizer()
        if weight_attrs == ["depthwise_kernel"]:
            self.weight_quantizer = DepthwiseKernelQuantizer()


class DenseConfig(default_8bit_quantize_registry.Default8BitQuantizeConfig):
    """Per-tensor kernel (a per-channel dense kernel does not convert), and the output."""

    def __init__(self, weight_attrs, activation_attrs, quantize_output):
        super().__init__(weight_attrs, activation_attrs, quantize_output)
        self.activation_quantizer = ActivationQuantizer()


class Registry(default_8bit_quantize_registry.Default8BitQuantizeRegistry):
    """Layer class → quantizers."""

    def __init__(self):
        super().__init__()
        self._layer_quantize_map.update(
            {
                keras.layers.Conv2D: ConvolutionConfig(["kernel"], ["activation"], False),
                keras.layers.DepthwiseConv2D: ConvolutionConfig(["depthwise_kernel"], ["activation"], False),
                keras.layers.Dense: DenseConfig(["kernel"], ["activation"], False),
                BorderPadding2D: OutputConfig(quantize_output=False),
                **{layer: OutputConfig() for layer in _WEIGHTLESS_QUANTIZED},
            }
        )


class InputQuantize(default_8bit_transforms.InputLayerQuantize):
    """Puts a quantizer of the fixed input range after the input."""

    def replacement(self, match_layer):
        quantizer = quantizers.FixedQuantizer(8, *INPUT_RANGE, narrow_range=False)
        layer = quantize_layer.QuantizeLayer(quantizer, name=INPUT_QUANTIZER_NAME)
        config = quantize_utils.serialize_layer(layer, use_legacy_format=True)
        config["name"] = layer.name
        return transforms.LayerNode(config, input_layers=[match_layer])

    def custom_objects(self):
        return {
            **super().custom_objects(),
            "FixedQuantizer": quantizers.FixedQuantizer,
            "ActivationQuantizer": ActivationQuantizer,
        }


class ConvolutionReLU(transforms.Transform):
    """No quantizer between a convolution and its ReLU, which the kernel fuses.

    tfmot's own rule for this pattern drops the kernel's quantizer along with the output's.
    """

    def pattern(self):
        return transforms.LayerPattern(
            "ReLU",
            inputs=[transforms.LayerPattern("Conv2D|DepthwiseConv2D|Dense", config={"activation": "linear"})],
        )

    def replacement(self, match_layer):
        match_layer.input_layers[0].layer["config"]["activation"] = quantize_utils.serialize_activation(
            quantize_aware_activation.NoOpActivation(), use_legacy_format=True
        )
        return match_layer

    def custom_objects(self):
        return {"NoOpActivation": quantize_aware_activation.NoOpActivation}


class AddReLU(default_8bit_transforms.LayerReLUQuantize):
    """No quantizer between an addition and its ReLU, which the kernel fuses."""

    def pattern(self):
        return transforms.LayerPattern("ReLU", inputs=[transforms.LayerPattern("Add")])


class LayoutTransform(quantize_layout_transform.QuantizeLayoutTransform):
    """tfmot's fusing transforms, with ours for the input and for ReLU."""

    def apply(self, model, layer_quantize_map):
        # A longer pattern stands before the shorter ones that it contains, so that no ReLU is left over.
        steps = [
            InputQuantize(),
            default_8bit_transforms.SeparableConvQuantize(),
            default_8bit_transforms.Conv2DBatchNormReLUQuantize(),
            default_8bit_transforms.Conv2DBatchNormActivationQuantize(),
            default_8bit_transforms.Conv2DBatchNormQuantize(),
            default_8bit_transforms.ConcatTransform(),
            default_8bit_transforms.DenseBatchNormReLUQuantize(),
            default_8bit_transforms.DenseBatchNormQuantize(),
            ConvolutionReLU(),
            AddReLU(),
        ]
        return model_transformer.ModelTransformer(
            model, steps, set(layer_quantize_map), layer_quantize_map
        ).transform()


class Scheme(default_8bit_quantize_scheme.Default8BitQuantizeScheme):
    """The scheme of this project."""

    def get_layout_transformer(self):
        return LayoutTransform()

    def get_quantize_registry(self):
        return Registry()


CUSTOM_OBJECTS = {
    cls.__name__: cls
    for cls in (
        OutputConfig,
        ConvolutionConfig,
        DenseConfig,
        ActivationQuantizer,
        DepthwiseKernelQuantizer,
        BorderPadding2D,
    )
}


def quantize(model: keras.Model, fold: bool = True) -> tuple[keras.Model, keras.Model, list[Change]]:
    """Inserts fake quantizers into any functional float model.

    Args:
      model: float model with input [N,H,W,C] in [−1, 127/128]; left unchanged.
      fold: whether batch norm is folded into convolutions first.

    Returns:
      (model with fake quantizers whose activation ranges are unset, the float model that it
      was made of, with the same layer names, and what was inserted or rewritten by hand).

    Raises:
      UserError: mixed precision, or a form that cannot be quantized.
    """
    refuse_mixed_precision(model)
    for layer in model.layers:
        multiplier = getattr(layer, "depth_multiplier", 1)
        require(
            # A depthwise kernel has one scale per input channel; only then these are the output channels too.
            multiplier == 1,
            f"The layer {layer.name!r} has depth multiplier {multiplier}; only 1 is supported.",
        )
    rewritten, changes = rewrite(model, fold)
    registry = Registry()
    prepared, inserted = _insert_missing(rewritten, registry)

    def annotate(layer):
        # tfmot handles batch norm in its transforms and does not list it in its registry.
        known = registry.supports(layer) or isinstance(layer, keras.layers.BatchNormalization)
        return tfmot.quantization.keras.quantize_annotate_layer(layer) if known else layer

    classes = {type(layer).__name__: type(layer) for layer in prepared.layers}
    with tfmot.quantization.keras.quantize_scope(CUSTOM_OBJECTS, classes):
        annotated = keras.models.clone_model(prepared, clone_function=annotate)
        # Cloning makes layers with fresh weights.
        annotated.set_weights(prepared.get_weights())
        quantized = tfmot.quantization.keras.quantize_apply(annotated, Scheme())
    return quantized, rewritten, [*changes, *inserted]


def refuse_mixed_precision(model: keras.Model) -> None:
    """Raises `UserError` where a layer computes in another type than float32."""
    for layer in model.layers:
        require(
            # tfmot itself fails with a TypeError that does not say why.
            getattr(layer, "compute_dtype", "float32") == "float32",
            f"The layer {layer.name!r} computes in {layer.compute_dtype}; quantization-aware "
            "fine-tuning works in float32 only, so build the model without mixed precision.",
        )


def _insert_missing(model: keras.Model, registry: Registry) -> tuple[keras.Model, list[Change]]:
    """Puts an explicit quantizer after every layer that the registry does not know."""
    graph, inserted = GraphConfig(model), []
    for layer in model.layers:
        if isinstance(layer, (keras.layers.InputLayer, keras.layers.BatchNormalization)) or registry.supports(
            layer
        ):
            continue
        # A layer outside of the registry cannot be annotated; a quantizer behind it puts at least its output
        # on a grid.
        graph.insert_after(
            layer.name, quantize_layer.QuantizeLayer(ActivationQuantizer(), name=f"{layer.name}_quantize")
        )
        inserted.append(
            Change(
                layer.name,
                f"a quantizer was put after this {type(layer).__name__}, whose inside stays as it is",
            )
        )
    if not inserted:
        return model, inserted
    classes = {type(layer).__name__: type(layer) for layer in model.layers}
    with tfmot.quantization.keras.quantize_scope(CUSTOM_OBJECTS, classes):
        prepared = graph.build(classes)
    copy_weights(model, prepared)
    return prepared, inserted
