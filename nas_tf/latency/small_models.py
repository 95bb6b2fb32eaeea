"""Small `.tflite` models to time: one for each table entry, and the empty graph.

Weights and calibration data are random: latency does not depend on their values, and the
graph is the one that a trained network would get.
"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tf_keras as keras

from nas_tf.base.errors import UserError
from nas_tf.base.quiet import quiet
from nas_tf.network import layers
from nas_tf.space.layer_spec import (
    BlockSpec,
    ClassifierSpec,
    FeaturesSpec,
    HeadSpec,
    LayerSpec,
    StemSpec,
)

_CALIBRATION_SAMPLES = 2  # any ranges will do


def entry_model(spec: LayerSpec) -> keras.Model:
    """One layer as a model: input [N,H,W,C] → the layer's output.

    With ReLU6, whatever the network has: in int8 both are the bounds that a kernel clamps to.
    """
    x = keras.Input((spec.input_size, spec.input_size, spec.input_width))
    if isinstance(spec, StemSpec):
        y = layers.build_stem(x, spec)
    elif isinstance(spec, BlockSpec):
        y = layers.build_operation(x, spec, "block")
    # Without the pooling, which the classifier's key counts, as in the published table.
    elif isinstance(spec, HeadSpec):
        y = layers.apply_chain(layers.convolution(spec.output_width, 1, 1, "head"), x)
    elif isinstance(spec, FeaturesSpec):
        y = layers.apply_chain([layers.pooling(), *layers.feature_layers(spec)], x)
    elif isinstance(spec, ClassifierSpec):
        pool = [layers.pooling()] if spec.pools else []
        y = layers.apply_chain([*pool, *layers.classifier_layers(spec.output_width)], x)
    else:
        raise UserError(f"No model can be built of {spec!r}.")
    return keras.Model(x, y)


def empty_model() -> keras.Model:
    """A graph with next to no work, [N,1,1,8] → [N,1,1,8]: what a call costs by itself."""
    x = keras.Input((1, 1, 8))
    # One cheap operation, because a graph needs one.
    return keras.Model(x, keras.layers.ReLU(6.0)(x))


def convert(model: keras.Model, dtype: str) -> bytes:
    """The model as a flatbuffer.

    Args:
      model: one input; the batch size becomes 1.
      dtype: "int8" for full-integer post-training quantization with int8 input and output
        (what a fine-tuned network becomes as well), "float32" for none.
    """
    shape = (1, *model.inputs[0].shape[1:])
    # Not from_keras_model: exporting a SavedModel first would take nearly all of the time.
    call = tf.function(lambda x: model(x, training=False), autograph=False)
    signature = call.get_concrete_function(tf.TensorSpec(shape, tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([signature], model)
    converter.experimental_lower_to_saved_model = False
    if dtype == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: _random_inputs(shape)
        converter.inference_input_type = converter.inference_output_type = tf.int8
    elif dtype != "float32":
        raise UserError(f"Unknown data type {dtype!r}; allowed: int8, float32.")
    with quiet():
        return converter.convert()


def _random_inputs(shape: tuple[int, ...]) -> Iterator[list[np.ndarray]]:
    random = np.random.default_rng(0)
    for _ in range(_CALIBRATION_SAMPLES):
        yield [random.uniform(-1, 1, shape).astype(np.float32)]
