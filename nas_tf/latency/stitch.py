"""Whole networks put together from the small models of a table, in a fraction of a second.

Converting a network of 21 blocks takes the TFLite converter 4 to 16 s. Its flatbuffer holds
the same operations in the same order as the flatbuffers of its layers one after the other, so
for timing these can be joined instead: each model's output tensor becomes the next one's
input. Values mean nothing in the result (int8 scales at the seams are the earlier model's).
"""

import copy
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from nas_tf.base.errors import require


def stitch(paths: Sequence[pathlib.Path]) -> bytes:
    """One `.tflite` of several that each have one input, one output and one subgraph.

    Args:
      paths: in order; the output shape of each is the input shape of the next.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    require(len(paths) > 0, "Nothing to stitch.")
    # Copies, because what was read is kept for the next network.
    whole = copy.deepcopy(_read(paths[0]))
    # They describe the first model alone.
    whole.signatureDefs, whole.metadata = None, None
    for path in paths[1:]:
        _append(whole, copy.deepcopy(_read(path)), path)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(whole))


# More models than the full space has layers (70).
@functools.lru_cache(maxsize=256)
def _read(path: pathlib.Path) -> Any:
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    graph = model.subgraphs[0]
    require(
        len(model.subgraphs) == len(graph.inputs) == len(graph.outputs) == 1,
        f"{str(path)!r} is not a model with one input and one output.",
    )
    return model


def _append(whole: Any, part: Any, path: pathlib.Path) -> None:
    """Adds the operations of `part` after those of `whole`, in place."""
    graph, added = whole.subgraphs[0], part.subgraphs[0]
    seam, entrance = graph.outputs[0], added.inputs[0]
    here, there = graph.tensors[seam].shape, added.tensors[entrance].shape
    require(
        np.array_equal(here, there),
        f"{str(path)!r} takes {list(there)}, but the model before it gives {list(here)}.",
    )
    codes = [_code_index(whole, code) for code in part.operatorCodes]
    # Buffer 0 is the empty one of every model.
    first_buffer = len(whole.buffers) - 1
    whole.buffers += part.buffers[1:]
    places = {-1: -1, entrance: seam}  # −1: an optional input that is absent
    for index, tensor in enumerate(added.tensors):
        if index != entrance:
            places[index] = len(graph.tensors)
            tensor.buffer += first_buffer if tensor.buffer else 0
            graph.tensors.append(tensor)
    for operator in added.operators:
        operator.opcodeIndex = codes[operator.opcodeIndex]
        operator.inputs = [places[i] for i in operator.inputs]
        operator.outputs = [places[i] for i in operator.outputs]
        graph.operators.append(operator)
    graph.outputs = [places[added.outputs[0]]]


def _code_index(whole: Any, code: Any) -> int:
    """Where `whole` lists this operator; a newer version of it serves an older one."""
    for index, own in enumerate(whole.operatorCodes):
        if own.builtinCode == code.builtinCode and own.customCode == code.customCode:
            own.version = max(own.version, code.version)
            return index
    whole.operatorCodes.append(code)
    return len(whole.operatorCodes) - 1
