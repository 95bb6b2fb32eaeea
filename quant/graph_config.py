"""Surgery on the configuration of a functional Keras model: remove, replace and insert layers."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import tf_keras as keras

from nas_tf.base.errors import require


class GraphConfig:
    """A functional model's configuration, open to change.

    Every layer must be called exactly once and give one tensor, as fake quantization
    requires too; then a layer's name also names its output.

    Attributes:
      layers: layer configurations by name, in the order of the model.
    """

    def __init__(self, model: keras.Model):
        require(
            isinstance(model, keras.Model) and model._is_graph_network,
            f"The model {getattr(model, 'name', model)!r} is not a functional Keras model; "
            "only such a model can be quantized.",
        )
        for layer in model.layers:
            require(
                not isinstance(layer, keras.Model),
                f"The layer {layer.name!r} is a model inside the model; quantization needs "
                "its layers in one flat model.",
            )
        self._config = copy.deepcopy(model.get_config())
        self.layers: dict[str, dict] = {layer["name"]: layer for layer in self._config["layers"]}
        for name, layer in self.layers.items():
            require(
                len(layer["inbound_nodes"]) <= 1,
                f"The layer {name!r} is called {len(layer['inbound_nodes'])} times; "
                "quantization needs one layer per call.",
            )

    def class_name(self, name: str) -> str:
        """Class of a layer."""
        return self.layers[name]["class_name"]

    def settings(self, name: str) -> dict[str, Any]:
        """The constructor arguments of a layer."""
        return self.layers[name]["config"]

    def inputs(self, name: str) -> list[str]:
        """The layers that feed a layer."""
        return [reference[0] for reference in _references(self.layers[name]["inbound_nodes"])]

    def consumers(self, name: str) -> list[str]:
        """The layers that a layer feeds."""
        return [other for other in self.layers if name in self.inputs(other)]

    def remove(self, name: str) -> None:
        """Removes a layer of one input; what it fed is then fed by that input."""
        (source,) = self.inputs(name)
        del self.layers[name]
        self._redirect(name, source)

    def replace(self, name: str, layer: keras.layers.Layer) -> None:
        """Puts `layer` in the place of the layer `name`, with the same inputs and name."""
        sources = self.inputs(name)
        self.layers[name] = _serialized(layer, name, sources)

    def insert_after(self, name: str, layer: keras.layers.Layer) -> None:
        """Puts `layer` between the layer `name` and everything that it feeds."""
        # Before the new layer is listed: its own input would else be turned to itself.
        self._redirect(name, layer.name)
        entries = list(self.layers.items())
        position = list(self.layers).index(name) + 1
        entries.insert(position, (layer.name, _serialized(layer, layer.name, [name])))
        self.layers = dict(entries)

    def build(self, custom_objects: dict[str, Any] | None = None) -> keras.Model:
        """The changed model, with fresh weights."""
        config = {**self._config, "layers": list(self.layers.values())}
        return keras.Model.from_config(copy.deepcopy(config), custom_objects)

    def _redirect(self, old: str, new: str) -> None:
        def rename(reference: list) -> None:
            if reference[0] == old:
                reference[0] = new

        for layer in self.layers.values():
            _visit(layer["inbound_nodes"], rename)
        # What was the network's output must stay its output.
        _visit(self._config["output_layers"], rename)


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights of every layer of `source` that `target` has by name and shape."""
    known = {layer.name: layer for layer in source.layers}
    for layer in target.layers:
        weights = known[layer.name].get_weights() if layer.name in known else []
        # By shape too: a replaced layer keeps its name, and a convolution that has gained a bias by folding
        # is filled by `quant.rewrite`.
        if [w.shape for w in weights] == [tuple(w.shape) for w in layer.weights]:
            layer.set_weights(weights)


def _serialized(layer: keras.layers.Layer, name: str, sources: list[str]) -> dict[str, Any]:
    content = keras.saving.serialize_keras_object(layer)
    content["config"]["name"] = name
    # A build_config would pin the input shape of the layer that was there before.
    content.pop("build_config", None)
    nodes = [[[source, 0, 0, {}] for source in sources]]
    return {**content, "name": name, "inbound_nodes": nodes}


def _references(nested: Any) -> Iterator[list]:
    found: list[list] = []
    _visit(nested, found.append)
    return iter(found)


def _visit(nested: Any, act: Callable[[list], None]) -> None:
    """Calls `act` on every [layer name, node index, tensor index, …] in nested node data."""
    if isinstance(nested, dict):
        for value in nested.values():
            _visit(value, act)
    elif isinstance(nested, (list, tuple)):
        # Three entries, or four with the call's other arguments.
        is_reference = (
            isinstance(nested, list)
            and 3 <= len(nested) <= 4
            and isinstance(nested[0], str)
            and isinstance(nested[1], int)
        )
        if is_reference:
            act(nested)
        # Inside of a reference too: of `x + y`, Keras keeps y among the call's arguments.
        for value in nested:
            if isinstance(value, (list, tuple, dict)):
                _visit(value, act)
