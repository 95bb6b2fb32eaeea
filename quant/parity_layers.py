"""Layer by layer: the fake-quant graph, its integer form, and the int8 file, on the same images."""

import dataclasses
from typing import Any

import numpy as np
import tf_keras as keras

from nas_tf.base.errors import require
from nas_tf.base.interpreter import DEFAULT_KERNELS, open_interpreter
from nas_tf.data.preprocess import to_network_input
from quant import int8
from quant.comparison import snr_db
from quant.int8 import Grid
from quant.integer_model import IntegerModel
from quant.keras_graph import source_names
from quant.parity_config import RUNTIMES
from quant.quantizer_list import activation_ranges


@dataclasses.dataclass(frozen=True)
class LayerParity:
    """How one tensor of the file compares with the Keras model.

    Attributes:
      layer: the Keras layer.
      size: numbers compared.
      differing: share that differ by a step or more in the fake-quant graph, all layers
        before having differed in their own way.
      alone: the same when the layer is given the file's own inputs: what this layer adds.
      integer: share that differ in the integer form, from the images on.
      largest_steps: largest difference of the fake-quant graph, in int8 steps.
      snr_db: the file's tensor against that difference.
    """

    layer: str
    size: int
    differing: float
    alone: float
    integer: float
    largest_steps: float
    snr_db: float


def compare_layers(
    qat_model: keras.Model, content: bytes, images: np.ndarray, runtime: str = DEFAULT_KERNELS
) -> list[LayerParity]:
    """One row for each layer whose output is a tensor of the file.

    Args:
      qat_model: the model that the file was converted from; a background class that the
        file has in front of the model's classes is left out.
      content: the `.tflite` file.
      images: uint8 [N,R,R,3].
      runtime: "xnnpack", the default on phones, or "builtin", TFLite's own kernels.

    Raises:
      UserError: the file is not a conversion of the model.
    """
    require_runtime(runtime)
    integer_model = IntegerModel(qat_model)
    names = [layer.name for layer in qat_model.layers]
    tensors = file_tensors(content, images, names, runtime)
    quantized = [r.layer.name for r in activation_ranges(qat_model)]
    require(
        sum(name in tensors for name in quantized) > len(quantized) / 2,
        "Most tensors of the .tflite file are not named after layers of the model, so it was "
        "not converted from this model.",
    )
    inputs = to_network_input(images).numpy()
    integers = {k: v.numpy() for k, v in integer_model.layer_values(inputs).items()}
    together, alone = {names[0]: inputs}, {names[0]: inputs}
    rows = []
    for layer in qat_model.layers[1:]:
        sources = source_names(layer)
        together[layer.name] = _call(layer, [together[s] for s in sources])
        alone[layer.name] = _call(layer, [alone[s] for s in sources])
        if layer.name not in tensors:
            continue
        grid, found = integer_model.grid(layer.name), tensors[layer.name]
        found = _without_background(found, together[layer.name].shape, layer.name)
        rows.append(
            _row(layer.name, grid, found, together[layer.name], alone[layer.name], integers[layer.name])
        )
        # The layers behind read the file's own tensor, so that `alone` shows each layer's error only.
        alone[layer.name] = found * grid.scale
    return rows


def require_runtime(runtime: str) -> None:
    """Raises `UserError` unless `runtime` is one of `RUNTIMES`."""
    require(runtime in RUNTIMES, f"Unknown runtime {runtime!r}; allowed: {', '.join(RUNTIMES)}.")


def to_table(rows: list[LayerParity]) -> str:
    """The rows as text, one line per layer."""
    lines = [f"{'layer':<32} {'differ':>8} {'alone':>8} {'integer':>8} {'steps':>6} {'SNR dB':>7}"]
    for row in rows:
        lines.append(
            f"{row.layer:<32} {row.differing:>8.3%} {row.alone:>8.3%} "
            f"{row.integer:>8.3%} {row.largest_steps:>6.0f} {row.snr_db:>7.1f}"
        )
    return "\n".join(lines)


def file_tensors(content: bytes, images: np.ndarray, names: list[str], runtime: str) -> dict[str, np.ndarray]:
    """Layer name → that layer's tensor in the file, as integers relative to the zero point.

    Every tensor is made an output of the graph, so that a delegate cannot hide it.
    """
    interpreter, wanted = _opened(content, names, runtime)
    given = interpreter.get_input_details()[0]
    require(
        given["dtype"] in (np.uint8, np.int8) and tuple(given["shape"][1:]) == images.shape[1:],
        f"The .tflite file takes {given['dtype'].__name__} {list(given['shape'])}; parity "
        f"needs uint8 or int8 images of {list(images.shape[1:])}.",
    )
    details = {d["index"]: d for d in interpreter.get_output_details()}
    collected: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
    # One by one, since our files take a batch of one.
    for image in images:
        pixels = int8.pixels_as(image[None], given["dtype"].__name__)
        interpreter.set_tensor(given["index"], pixels)
        interpreter.invoke()
        for name, index in wanted.items():
            values = interpreter.get_tensor(index).astype(np.float32)
            collected[name].append(values - details[index]["quantization"][1])
    return {name: np.concatenate(values) for name, values in collected.items()}


def _opened(content: bytes, names: list[str], runtime: str) -> tuple[Any, dict[str, int]]:
    """An interpreter of the file with all layers' tensors as outputs, and their indices."""
    from ai_edge_litert.tools import flatbuffer_utils

    from quant import flatbuffer

    graph = flatbuffer.parse(content).main
    wanted = {}
    for operator in graph.operators:
        tensor = graph.tensors[operator.outputs[0]]
        name = layer_of_tensor(tensor.name, names)
        if name and tensor.dtype in ("int8", "uint8"):
            wanted[name] = tensor.index
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    main = model.subgraphs[0]
    main.outputs = sorted({*(int(i) for i in main.outputs), *wanted.values()})
    # Signatures name the old outputs.
    model.signatureDefs = []
    opened = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return open_interpreter(opened, ".tflite file", runtime), wanted


def layer_of_tensor(tensor_name: str, names: list[str]) -> str | None:
    """The layer among `names` whose output a tensor is, by the names that the converter joins.

    Of `net/quant_a_relu/Relu6;net/quant_a_conv/BiasAdd` it is the first: the last operation
    that was fused.
    """
    parts = tensor_name.split(";")[0].split("/")
    return next((part for part in parts if part in names), None)


def _row(
    name: str, grid: Grid, found: np.ndarray, together: np.ndarray, alone: np.ndarray, integers: np.ndarray
) -> LayerParity:
    off = np.abs(grid.integers(together) - found)
    return LayerParity(
        layer=name,
        size=int(found.size),
        differing=float(np.mean(off >= 1)),
        alone=float(np.mean(grid.integers(alone) != found)),
        integer=float(np.mean(integers != found)),
        largest_steps=float(off.max()),
        snr_db=snr_db(found * grid.scale, together),
    )


def _without_background(found: np.ndarray, shape, name: str) -> np.ndarray:
    if found.shape[-1] == shape[-1] + 1:
        found = found[..., 1:]
    require(
        found.shape == tuple(shape),
        f"The tensor of {name!r} has the shape {list(found.shape)} in the .tflite file and "
        f"{list(shape)} in the model; they are not of one network.",
    )
    return found


def _call(layer: keras.layers.Layer, inputs: list[np.ndarray]) -> np.ndarray:
    return layer(inputs if len(inputs) > 1 else inputs[0]).numpy()
