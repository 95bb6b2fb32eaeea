"""Fake quantizers in the forms that TFLite's int8 kernels use.

All of them are quantizers of tfmot, in classes of their own only where tfmot's differ from
the kernels: depthwise kernels per channel, activation ranges that start unset.
"""

import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.python.core.quantization.keras import quant_ops, quantizers
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantizers

# Channels and multiplier change places; applied twice, it is undone.
_SWAP = (0, 1, 3, 2)


class DepthwiseKernelQuantizer(default_8bit_quantizers.Default8BitConvWeightsQuantizer):
    """One scale per channel for a depthwise kernel [height, width, channels, multiplier].

    tfmot builds ranges over the last axis, which is the multiplier, so a kernel would get
    one scale. Moving the channels last around the per-channel operation gives each its own.
    """

    def build(self, tensor_shape, name, layer):
        height, width, channels, multiplier = tensor_shape
        return super().build((height, width, multiplier, channels), name, layer)

    def __call__(self, inputs, training, weights, **kwargs):
        swapped = super().__call__(tf.transpose(inputs, _SWAP), training, weights, **kwargs)
        return tf.transpose(swapped, _SWAP)


class ActivationQuantizer(quantizers.MovingAverageQuantizer):
    """One asymmetric 8-bit range per tensor, unset ([0, 0]) until calibration sets it.

    An unset range turns the tensor to zeros, which nobody overlooks; tfmot's start of ±6
    looks like a range and costs nearly all accuracy. With `training=True` the range follows
    the batches as a moving average, with `training=False` it stays.
    """

    # 0.999 is tfmot's own decay.
    def __init__(self, ema_decay: float = 0.999):
        super().__init__(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
        self.ema_decay = ema_decay

    def build(self, tensor_shape, name, layer):
        zeros = keras.initializers.Zeros()
        return {
            f"{end}_var": layer.add_weight(f"{name}_{end}", initializer=zeros, trainable=False)
            for end in ("min", "max")
        }

    def __call__(self, inputs, training, weights, **kwargs):
        return quant_ops.MovingAvgQuantize(
            inputs, weights["min_var"], weights["max_var"], ema_decay=self.ema_decay, is_training=training
        )

    def get_config(self):
        return {"ema_decay": self.ema_decay}
