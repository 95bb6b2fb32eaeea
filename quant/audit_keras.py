"""Audit of a Keras graph with fake quantizers: which outputs and kernels have none."""

import collections

import numpy as np
import tf_keras as keras
from tensorflow_model_optimization.python.core.quantization.keras import quantize_layer, quantize_wrapper

from quant import int8
from quant.accumulator import NEARLY_LEAST
from quant.audit_result import Audit, KernelFacts, Node, RangeFault, islands, kernel_facts, range_fault
from quant.bias import least_scales
from quant.keras_graph import all_sources, inner
from quant.quantizer_list import KernelRange, activation_ranges, kernel_ranges

# Their output lies on the grid of their input.
_KEEP_GRID = {
    "Flatten",
    "Reshape",
    "ZeroPadding2D",
    "BorderPadding2D",
    "MaxPooling2D",
    "Dropout",
    "Permute",
    "Cropping2D",
}
# What the int8 kernel of the key's layer computes along: layer → layers that it fuses.
_WEIGHTED = {"Conv2D", "DepthwiseConv2D", "Dense", "SeparableConv2D", "Conv2DTranspose", "Conv1D"}
_NORM = {"BatchNormalization", "SyncBatchNormalization"}
_ACTIVATION = {"ReLU", "Activation"}
_FUSES = {**dict.fromkeys(_WEIGHTED, _NORM | _ACTIVATION), **dict.fromkeys(_NORM | {"Add"}, _ACTIVATION)}
_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


def audit_keras(model: keras.Model, name: str) -> Audit:
    """Audits a functional model; `name` is for the report."""
    graph = _LayerGraph(model)
    missing, kernels, faults = [], [], []
    problems: dict[str, list[str]] = collections.defaultdict(list)
    ranges = {r.layer.name: r for r in activation_ranges(model)}
    for layer in model.layers:
        for reason in graph.gaps(layer, ranges):
            missing.append(layer.name)
            problems[layer.name].append(reason)
    for entry in ranges.values():
        _note(range_fault(entry.layer.name, *entry.value), faults, problems, entry.layer.name)
    for entry in kernel_ranges(model):
        facts, fault = _kernel(entry, _least(model, entry))
        _note(fault, faults, problems, entry.layer.name)
        kernels.append(facts)
        if not facts.per_channel and not fault:
            problems[entry.layer.name].append(
                f"kernel not per channel: {facts.under_filled}/{facts.channels} under-filled"
            )
    nodes = [
        graph.node(layer, ranges, problems[layer.name], layer.name not in missing) for layer in model.layers
    ]
    open_ids = {graph.index[n] for n in missing}
    return Audit(
        name,
        "keras",
        tuple(nodes),
        # Once each: both the kernel and the output of a layer may lack a quantizer.
        tuple(dict.fromkeys(missing)),
        tuple(f"{n}:0" for n in dict.fromkeys(missing)),
        islands(open_ids, nodes),
        (),
        tuple(kernels),
        tuple(faults),
        (),
        graph.fused(),
    )


def _note(fault: RangeFault | None, faults: list, problems: dict, layer: str) -> None:
    if fault:
        faults.append(fault)
        problems[layer].append(f"range {fault.fault}")


def _least(model: keras.Model, entry: KernelRange) -> np.ndarray | float:
    try:
        return NEARLY_LEAST * least_scales(model, entry)
    except (KeyError, IndexError, AttributeError):  # no range before or behind it: other findings
        return 0.0


def _kernel(entry: KernelRange, least) -> tuple[KernelFacts, RangeFault | None]:
    """Facts of a kernel as its range rounds it, and what is wrong with the range."""
    kernel = np.moveaxis(entry.kernel.numpy(), entry.channel_axis, -1)
    high = np.atleast_1d(entry.maximum.numpy()).astype(np.float64)
    name = f"{entry.source}/kernel"
    # By the widest channel: a dead one beside others is no fault of the range.
    fault = range_fault(name, float(np.min(entry.minimum.numpy())), float(high.max()))
    steps = np.maximum(int8.kernel_scale(high), np.finfo(np.float32).tiny)  # an empty range has none
    integers = int8.kernel_integers(kernel / steps).astype(np.int8)
    return kernel_facts(name, integers, steps, least), fault


class _LayerGraph:
    """Who feeds whom."""

    def __init__(self, model: keras.Model):
        self.index = {layer.name: i for i, layer in enumerate(model.layers)}
        self._layers = list(model.layers)
        self._outputs = {tensor.node.layer.name for tensor in model.outputs}
        self._sources: dict[str, list] = {layer.name: [] for layer in model.layers}
        self._consumers: dict[str, list] = {layer.name: [] for layer in model.layers}
        for layer in model.layers:
            for source in all_sources(layer):
                # A layer of the float model may have nodes outside of this model.
                if source.name in self.index:
                    self._sources[layer.name].append(source)
                    self._consumers[source.name].append(layer)

    def gaps(self, layer: keras.layers.Layer, ranges: dict) -> list[str]:
        """What of a layer stays float: its output, its kernel."""
        held, found = inner(layer), []
        kind = type(held).__name__
        wrapped = isinstance(layer, quantize_wrapper.QuantizeWrapper)
        has_kernel = any(getattr(held, name, None) is not None for name in _KERNELS)
        if wrapped and has_kernel and not layer._weight_vars:
            found.append("kernel has no fake quantizer")
        elif not wrapped and layer.weights and kind not in _NORM | {"QuantizeLayer"}:
            found.append("weights have no fake quantizer")
        if not self._output_is_covered(layer, kind, ranges):
            found.append("output has no fake quantizer")
        return found

    def _output_is_covered(self, layer, kind: str, ranges: dict) -> bool:
        if layer.name in ranges or kind in _KEEP_GRID:
            return True
        followers = self._consumers[layer.name]
        if followers and all(isinstance(f, quantize_layer.QuantizeLayer) for f in followers):
            return True
        # The follower is judged in its own turn.
        return (
            len(followers) == 1
            and layer.name not in self._outputs
            and type(inner(followers[0])).__name__ in _FUSES.get(kind, ())
        )

    def fused(self) -> dict[str, int]:
        """Pairs of layers that one int8 kernel computes → how often."""
        pairs = collections.Counter()
        for layer in self._layers:
            kind = type(inner(layer)).__name__
            followers = [type(inner(f)).__name__ for f in self._consumers[layer.name]]
            if len(followers) == 1 and followers[0] in _FUSES.get(kind, ()):
                pairs[f"{kind}+{followers[0]}"] += 1
        return dict(pairs)

    def node(self, layer, ranges: dict, problems: list[str], quantized: bool) -> Node:
        """The layer in the picture."""
        shape = (
            "×".join(str(n) for n in layer.output_shape[1:]) if isinstance(layer.output_shape, tuple) else ""
        )
        entry = ranges.get(layer.name)
        span = "[{:.3g}, {:.3g}]".format(*entry.value) if entry else ""
        return Node(
            layer.name,
            type(inner(layer)).__name__,
            tuple(self.index[s.name] for s in self._sources[layer.name]),
            f"{shape} {span}".strip(),
            quantized,
            tuple(problems),
        )
