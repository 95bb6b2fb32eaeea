"""The TFLite converter."""

from nas_tf.base.errors import UserError
from nas_tf.base.quiet import quiet

TYPES = ("uint8", "int8", "float32")


def convert_keras(model, input_type: str, output_type: str, quantized: bool) -> bytes:
    """The flatbuffer of a Keras model for one image at a time.

    Args:
      model: float network, or one with fake quantizers.
      input_type, output_type: of the file's input and output, one of `TYPES`.
      quantized: whether `model` has fake quantizers, whose ranges the converter then uses.

    Raises:
      UserError: the converter refused the graph.
    """
    import tensorflow as tf

    # Fixed batch: a dynamic one leaves shape arithmetic in some graphs.
    signature = tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32, name="image")
    function = tf.function(lambda image: model(image, training=False))
    concrete = function.get_concrete_function(signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    if quantized:
        # With ranges in the graph, this quantizes by them and asks for no representative dataset.
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = tf.as_dtype(input_type)
        converter.inference_output_type = tf.as_dtype(output_type)
    # Caught inside of `quiet`, which prints what it held back if an exception gets through.
    with quiet():
        try:
            return converter.convert()
        except Exception as error:
            # A private class with a page of MLIR; its first line says enough.
            reason = next(iter(str(error).splitlines()), type(error).__name__)
    raise UserError(f"TensorFlow Lite could not convert the model: {reason}")
