"""Where the output channels are in Keras' convolution kernels.

convolution   [height, width, inputs, outputs]   last axis
depthwise     [height, width, channels, 1]       third axis; the last is the depth multiplier
dense         [inputs, outputs]                  last axis
"""

import tf_keras as keras


def is_depthwise(layer: keras.layers.Layer) -> bool:
    """Whether each input channel is convolved with a kernel of its own."""
    return isinstance(layer, keras.layers.DepthwiseConv2D)


def channel_axis(layer: keras.layers.Layer) -> int:
    """Axis of the output channels in a layer's kernel."""
    return 2 if is_depthwise(layer) else -1


def against_kernel(values, layer: keras.layers.Layer):
    """One value per output channel, [channels], in a shape that broadcasts against the kernel.

    Arrays and tensors alike; one value for the whole kernel stays as it is.
    """
    return values[:, None] if is_depthwise(layer) and len(values.shape) else values


def as_rows(kernel, layer: keras.layers.Layer):
    """[outputs, D] of a kernel: the D weights that make each output channel, one row per channel.

    D is height · width · inputs for a convolution and height · width for a depthwise one.
    """
    return kernel.reshape(-1, kernel.shape[channel_axis(layer)]).T


def from_rows(rows, shape):
    """The kernel of this shape whose rows these are: `as_rows` undone."""
    return rows.T.reshape(shape)
