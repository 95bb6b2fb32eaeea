"""The compact float network of an architecture."""

import tf_keras as keras

from nas_tf.network import layers
from nas_tf.space.architecture import Architecture
from nas_tf.space.layer_spec import IMAGE_CHANNELS


def build_network(
    architecture: Architecture, resolution: int, num_classes: int, dropout: float = 0.0
) -> keras.Model:
    """Builds the network as a plain functional model.

    Args:
      architecture: absolute widths, operations, strides, padding.
      resolution: side of the square input.
      num_classes: outputs.
      dropout: rate before the classifier, for training only.

    Returns:
      Model from images float32 [N, resolution, resolution, 3] = (uint8 − 128) / 128 to
      logits float32 [N, num_classes].
    """
    specs = architecture.layers(resolution, num_classes)
    style = layers.Style(architecture.padding, architecture.activation)
    # The stem, the blocks, and what follows them.
    stem, blocks, after = (
        specs[0],
        specs[1 : 1 + len(architecture.blocks)],
        specs[1 + len(architecture.blocks) :],
    )
    image = keras.Input((resolution, resolution, IMAGE_CHANNELS), name="image")
    x = layers.build_stem(image, stem, style, architecture.image_border)
    for index, spec in enumerate(blocks):
        x = layers.build_operation(x, spec, f"block{index}", style)
    logits = layers.apply_chain(layers.layers_after(after, style, dropout), x)
    return keras.Model(image, logits, name="network")


def count_trainable(model: keras.Model) -> int:
    """Trainable parameters of a Keras model."""
    return sum(int(w.shape.num_elements()) for w in model.trainable_weights)
