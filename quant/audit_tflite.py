"""Audit of a `.tflite` file: reads its integers, takes no tool's word."""

import collections

import numpy as np

from quant import int8
from quant.accumulator import NEARLY_LEAST, steps_needed
from quant.audit_result import Audit, KernelFacts, Node, RangeFault, islands, kernel_facts, range_fault
from quant.flatbuffer import FlatModel, Graph, Operator, Tensor

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
# Kernel input and the axis of its output channels.
_KERNEL_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
_FUSING = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD")
_ACTIVATIONS = ("RELU", "RELU6", "RELU_N1_TO_1")
_MAX_DETAIL_NAME = 60


def audit_flatbuffer(model: FlatModel, name: str) -> Audit:
    """Audits every graph of a flatbuffer; `name` is for the report."""
    parts = [_GraphAudit(graph) for graph in model.graphs]
    nodes: list[Node] = []
    missing: set[int] = set()
    for part in parts:
        first = len(nodes)
        missing |= {first + index for index in part.missing}
        nodes += [part.node(index, first) for index in range(len(part.graph.operators))]
    fused = collections.Counter(
        f"{op.name}+{op.activation}"
        for part in parts
        for op in part.graph.operators
        if op.activation != "NONE"
    )

    def gather(attribute: str) -> tuple:
        return tuple(entry for part in parts for entry in getattr(part, attribute))

    return Audit(
        name,
        "tflite",
        tuple(nodes),
        tuple(nodes[i].name for i in sorted(missing)),
        gather("float_tensors"),
        islands(missing, nodes),
        gather("conversions"),
        gather("kernels"),
        gather("range_faults"),
        gather("unfused"),
        dict(fused),
    )


class _GraphAudit:
    """Findings of one graph, and for each operator what to say about it."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.missing: list[int] = []
        self.conversions: list[str] = []
        self.kernels: list[KernelFacts] = []
        self.range_faults: list[RangeFault] = []
        self.unfused: list[str] = []
        self._problems: dict[int, list[str]] = collections.defaultdict(list)
        self.float_tensors = [short_name(t) for t in graph.tensors if self._is_inner_float(t)]
        for index, operator in enumerate(graph.operators):
            self._look_at_types(index, operator)
            self._look_at_kernel(index, operator)
            self._look_at_range(index, operator)
            self._look_at_activation(index, operator)

    def _is_inner_float(self, tensor: Tensor) -> bool:
        edge = tensor.index in self.graph.inputs or tensor.index in self.graph.outputs
        # What no operator reads or writes is never computed.
        used = tensor.index in self.graph.producers or tensor.index in self.graph.consumers
        return tensor.is_float and used and not edge

    def _tensors(self, indices: tuple[int, ...]) -> list[Tensor]:
        return [self.graph.tensors[i] for i in indices]

    def _look_at_types(self, index: int, operator: Operator) -> None:
        if operator.name in _CONVERSIONS:
            outer = set(operator.inputs) & set(self.graph.inputs) or (
                set(operator.outputs) & set(self.graph.outputs)
            )
            # At the edge a float input or output has to be converted; inside it costs time and a rounding.
            if not outer:
                self.conversions.append(f"{operator.name} {self._label(operator)}")
                self._problems[index].append("conversion inside")
        elif any(t.is_float for t in self._tensors(operator.inputs + operator.outputs)):
            self.missing.append(index)
            self._problems[index].append("computes in float")

    def _look_at_kernel(self, index: int, operator: Operator) -> None:
        if operator.name not in _KERNEL_AXES or len(operator.inputs) < 2:
            return
        kernel = self.graph.tensors[operator.inputs[1]]
        if kernel.values is None or kernel.dtype != "int8" or not len(kernel.scales):
            return
        # Scales belong to the dimension that the file says; a single one says nothing of the kind.
        axis = kernel.axis if len(kernel.scales) > 1 else _KERNEL_AXES[operator.name]
        if axis >= kernel.values.ndim or not kernel.values.size:
            return
        integers = np.moveaxis(kernel.values, axis, -1)
        least = self._least(operator, integers.shape[-1])
        facts = kernel_facts(short_name(kernel), integers, kernel.scales, least)
        self.kernels.append(facts)
        if not facts.per_channel:
            self._problems[index].append(
                f"kernel not per channel: {facts.under_filled}/{facts.channels} under-filled"
            )

    def _least(self, operator: Operator, channels: int) -> np.ndarray | float:
        """Kernel steps that bias and output step need, [channels]; 0 where they cannot be told."""
        # Without a bias or scales nothing can be told, and no channel is excused.
        if len(operator.inputs) < 3 or not operator.outputs:
            return 0.0
        source, _, bias = self._tensors(operator.inputs[:3])
        output = self.graph.tensors[operator.outputs[0]]
        if not len(source.scales) or not len(output.scales) or not len(bias.scales):
            return 0.0
        if bias.values is None or bias.values.size not in (1, channels):
            return 0.0
        if len(bias.scales) not in (1, bias.values.size):
            return 0.0
        return NEARLY_LEAST * steps_needed(
            bias.values * bias.scales, float(source.scales[0]), float(output.scales[0])
        )

    def _look_at_range(self, index: int, operator: Operator) -> None:
        for tensor in self._tensors(operator.outputs):
            if tensor.dtype not in ("int8", "uint8") or len(tensor.scales) != 1:
                continue
            low, high = tensor_range(tensor)
            fault = range_fault(short_name(tensor), low, high)
            if fault:
                self.range_faults.append(fault)
                self._problems[index].append(f"range {fault.fault}")

    def _look_at_activation(self, index: int, operator: Operator) -> None:
        if operator.name not in _ACTIVATIONS or not operator.inputs:
            return
        source = self.graph.producers.get(operator.inputs[0])
        before = self.graph.operators[source].name if source is not None else ""
        # Another reader wants the tensor before the activation, so it has to be written out.
        alone = len(self.graph.consumers[operator.inputs[0]]) == 1
        if before in _FUSING and alone:
            self.unfused.append(f"{operator.name} {self._label(operator)}")
            self._problems[index].append(f"not fused into {before}")

    def _label(self, operator: Operator) -> str:
        return short_name(self.graph.tensors[operator.outputs[0]]) if operator.outputs else ""

    def node(self, index: int, first: int) -> Node:
        """The operator in the picture; nodes of this graph count from `first`."""
        operator = self.graph.operators[index]
        sources = (self.graph.producers.get(i) for i in operator.inputs)
        kind = (
            operator.name if operator.activation == "NONE" else (f"{operator.name} + {operator.activation}")
        )
        outputs = self._tensors(operator.outputs)
        return Node(
            self._label(operator) or operator.name,
            kind,
            tuple(first + s for s in sources if s is not None),
            _detail(outputs[0]) if outputs else "",
            index not in self.missing,
            tuple(self._problems[index]),
        )


def tensor_range(tensor: Tensor) -> tuple[float, float]:
    """The real numbers that a per-tensor int8 or uint8 grid spans."""
    low, high = int8.ends(tensor.dtype)
    scale, zero_point = float(tensor.scales[0]), int(tensor.zero_points[0])
    return scale * (low - zero_point), scale * (high - zero_point)


def short_name(tensor: Tensor) -> str:
    """The last named part of a tensor's name; the converter joins all it fused with `;`."""
    parts = [part for part in tensor.name.split(";") if part]
    path = parts[0].split("/") if parts else []
    # tfmot calls a layer that it wraps quant_ and the layer's name, which is what people know.
    quantized = [p for p in path if p.startswith("quant_")]
    name = quantized[0].removeprefix("quant_") if quantized else "/".join(path[-2:])
    return name[:_MAX_DETAIL_NAME] or f"tensor {tensor.index}"


def _detail(tensor: Tensor) -> str:
    shape = "×".join(map(str, tensor.shape[1:] or tensor.shape))
    if len(tensor.scales) != 1:
        return f"{tensor.dtype} {shape}"
    if tensor.dtype in ("int8", "uint8"):
        low, high = tensor_range(tensor)
        return f"{tensor.dtype} {shape} [{low:.3g}, {high:.3g}]"
    return f"{tensor.dtype} {shape} scale {tensor.scales[0]:.3g}"
