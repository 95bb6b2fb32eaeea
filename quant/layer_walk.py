"""Runs a float network and its fake-quantized form side by side, layer by layer."""

import collections
from collections.abc import Iterator

import numpy as np
import tf_keras as keras

from quant.keras_graph import inner, source_names

CHUNK = 20  # images computed at once


def walk(
    float_model: keras.Model, qat_model: keras.Model, images: np.ndarray
) -> Iterator[tuple[keras.layers.Layer, np.ndarray, np.ndarray]]:
    """Yields (layer of `qat_model`, its input, what it should give), from input to output.

    The input is what the quantized layers before really give, the output the float network's own;
    so a receiver that fits the layer also makes up for the errors of the layers before. The layer
    is computed only when the receiver is done with it, as it then is.

    Args:
      float_model: the network that `qat_model` was made of, with the same layer names.
      images: network inputs [N,R,R,3].
    """
    float_layers = {layer.name: layer for layer in float_model.layers}
    wanted, given = _Outputs(float_model, images), _Outputs(qat_model, images)
    for layer in qat_model.layers[1:]:
        # A layer without one in the float network is a quantizer that was put between.
        counterpart = float_layers.get(inner(layer).name)
        if counterpart is not None:
            yield layer, given.inputs(layer)[0], wanted.compute(counterpart)
        given.compute(layer)


class _Outputs:
    """Outputs of a model's layers; each is kept until the last layer that reads it is computed."""

    def __init__(self, model: keras.Model, images: np.ndarray):
        self._readers = collections.Counter(name for layer in model.layers for name in source_names(layer))
        self._values = {model.layers[0].name: images}

    def inputs(self, layer: keras.layers.Layer) -> list[np.ndarray]:
        """What the layer reads."""
        return [self._values[name] for name in source_names(layer)]

    def compute(self, layer: keras.layers.Layer) -> np.ndarray:
        """The layer's output."""
        output = _in_chunks(layer, self.inputs(layer))
        self._values[layer.name] = output
        # Outputs of a few hundred images are large, so each goes as soon as nothing reads it any more.
        for name in source_names(layer):
            self._readers[name] -= 1
            if not self._readers[name]:
                del self._values[name]
        return output


def _in_chunks(layer: keras.layers.Layer, inputs: list[np.ndarray]) -> np.ndarray:
    chunks = []
    for start in range(0, len(inputs[0]), CHUNK):
        parts = [x[start : start + CHUNK] for x in inputs]
        chunks.append(layer(parts if len(parts) > 1 else parts[0]).numpy())
    return np.concatenate(chunks)
