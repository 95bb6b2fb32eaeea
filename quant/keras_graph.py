"""Who feeds whom in a Keras graph: the one place that reads Keras' nodes.

A node is one call of a layer. Fake quantization needs every layer called once, so in what is
quantized here the first node is the only one that matters; a layer of a float network may have
further nodes, in other models made of the same layers.

`quant.graph_config` changes graphs, and works on their configuration instead.
"""

import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.python.core.quantization.keras import quantize_wrapper


def sources(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers that feed `layer` where it is called first; none for an input."""
    return tf.nest.flatten(layer.inbound_nodes[0].inbound_layers)


def source_names(layer: keras.layers.Layer) -> list[str]:
    """Names of `sources`."""
    return [source.name for source in sources(layer)]


def all_sources(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers that feed `layer` in any of its calls, in other models as well."""
    return [s for node in layer.inbound_nodes for s in tf.nest.flatten(node.inbound_layers)]


def consumers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers that `layer` feeds, one entry per call."""
    return [node.outbound_layer for node in layer.outbound_nodes]


def inner(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The layer inside tfmot's quantizing wrapper; a layer without one is its own."""
    return layer.layer if isinstance(layer, quantize_wrapper.QuantizeWrapper) else layer
