"""Running any `.tflite` image classifier on uint8 images, on all cores."""

import concurrent.futures
import dataclasses
import pathlib
import threading
from typing import Any

import numpy as np

from export import file_facts, tflite_metadata
from export.input_scaling import InputTensor, Normalization, decide
from export.labels import read_appended as read_labels
from nas_tf.base.errors import require
from nas_tf.base.interpreter import DEFAULT_KERNELS, open_interpreter, require_kernels
from nas_tf.data.class_names import are_numbers
from nas_tf.latency.host import usable_cores
from nas_tf.latency.tilting import softmax
from quant import flatbuffer

_TYPES = ("uint8", "int8", "float32")
# Operators that leave the scores what they are.
_UNCHANGING = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE")


@dataclasses.dataclass(frozen=True)
class FileOptions:
    """How to run a file, and what it cannot say itself.

    Attributes:
      num_workers: interpreters; 0: one per core.
      kernels: "xnnpack", TFLite's default and ours, or "builtin", which round twice.
      normalization: of the input, instead of what the file says; None: what the file says.
      resolution: side of the input where the file leaves it open; 0: not given.
    """

    num_workers: int = 0
    kernels: str = DEFAULT_KERNELS
    normalization: Normalization | None = None
    resolution: int = 0


class TFLiteClassifier:
    """A `.tflite` file with one image input and one vector of class scores.

    One interpreter with one thread per core: the interpreter lets go of Python's lock while it
    runs, and small networks gain nothing from threads inside of one.

    Args:
      path: the file; it is untrusted, and parsed before the interpreter sees it.
      options: how to run it.

    Attributes:
      resolution: side of the square input.
      resize_size: short side before the centre crop, as the file says; 0 if it does not.
      num_outputs: class scores, background included.
      input_type: uint8, int8 or float32.
      input_scaling: how pixels become the input.
      labels: one per output, or None if the file has none that fit.
      named: whether the labels are names, and not numbers in place of names.
      words: labels for people, one per output, or None if the file has no others.

    Raises:
      UserError: the file is no flatbuffer, or no classifier of square RGB images, or does not
        say how pixels are scaled.
    """

    def __init__(self, path: str | pathlib.Path, options: FileOptions = FileOptions()):
        require_kernels(options.kernels)
        self._kernels = options.kernels
        # An interpreter runs one image at a time, so each thread has its own.
        self._path, self._local = pathlib.Path(path), threading.local()
        graph = flatbuffer.read_file(path).main
        require(
            len(graph.inputs) == 1 and len(graph.outputs) == 1,
            f"The model {str(path)!r} has {len(graph.inputs)} inputs and {len(graph.outputs)} "
            "outputs; a classifier has one of each.",
        )
        source = graph.tensors[graph.inputs[0]]
        metadata = tflite_metadata.read(path)
        # A shape has 1 where a size is open; only the signature says that it is.
        self.resolution, self._resized = self._check_input(
            source, metadata.signature or source.shape, options.resolution
        )
        self.input_type = source.dtype
        facts = file_facts.read(path)
        self.resize_size = facts.resize_size if facts else 0
        self.input_scaling = decide(
            _input_tensor(source), options.normalization, _own(facts, metadata, path), str(path)
        )
        # Made here, so that a file that does not run is refused before any image is read.
        self.num_outputs = self._check_scores(self._interpreter()[2])
        self._scale, self._zero_point = self._interpreter()[2]["quantization"]
        self._ends_in_softmax = _ends_in_softmax(graph)
        labels = read_labels(path, metadata.label_file)
        self.labels = labels if labels and len(labels) == self.num_outputs else None
        words = read_labels(path, metadata.words_file) if metadata.words_file else None
        self.words = words if words and len(words) == self.num_outputs else None
        self.named = facts.named if facts else not are_numbers(labels or ())
        self._pool = concurrent.futures.ThreadPoolExecutor(options.num_workers or usable_cores())

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Class scores [N, num_outputs] of uint8 images [N, resolution, resolution, 3].

        Integer scores stay as they are: dequantizing them changes no order.
        """
        return np.stack(list(self._pool.map(self._one, images)))

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities [N, num_outputs] of class scores: their softmax, unless the file ends in one."""
        # A float output has no scale.
        real = (scores.astype(np.float64) - self._zero_point) * (self._scale or 1.0)
        return real if self._ends_in_softmax else softmax(real)

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown()

    def _check_input(self, tensor: flatbuffer.Tensor, sizes: tuple[int, ...], asked: int) -> tuple[int, bool]:
        """(side of the input, whether the file leaves it open and it has to be set)."""
        named = f"The model {str(self._path)!r} takes {tensor.dtype} {list(sizes)}"
        needed = "needed is one square RGB image [1, side, side, 3] of uint8, int8 or float32."
        require(len(sizes) == 4 and sizes[0] in (1, -1) and tensor.dtype in _TYPES, f"{named}; {needed}")
        require(
            not (sizes[1] == 3 and sizes[3] != 3),
            f"{named}, channels first (NCHW); convert it with channels last. In full: {needed}",
        )
        require(sizes[3] == 3, f"{named}, not three channels; {needed}")
        require(-1 in sizes[1:3] or sizes[1] == sizes[2] > 0, f"{named}; {needed}")
        fixed = max(sizes[1:3])  # one of the two may be open
        if -1 in sizes[1:3]:
            require(
                asked > 0,
                f"{named}, a size that the file leaves open (-1); give --resolution, "
                "the side in pixels that the network was made for.",
            )
        require(asked in (0, fixed) or fixed == -1, f"{named}; --resolution={asked} does not fit it.")
        return asked or fixed, -1 in sizes[1:3]

    def _check_scores(self, scores: dict) -> int:
        """How many classes the output has scores of."""
        shape, dtype = [int(n) for n in scores["shape"]], np.dtype(scores["dtype"]).name
        require(
            # One vector, whatever axes of length 1 stand before it.
            len(shape) > 0 and int(np.prod(shape)) == shape[-1] > 0 and dtype in _TYPES,
            f"The model {str(self._path)!r} gives {dtype} {shape}; needed are "
            "class scores [1, classes] of uint8, int8 or float32.",
        )
        return shape[-1]

    def _one(self, image: np.ndarray) -> np.ndarray:
        interpreter, source, scores = self._interpreter()
        interpreter.set_tensor(source["index"], self.input_scaling(image)[np.newaxis])
        interpreter.invoke()
        return interpreter.get_tensor(scores["index"]).reshape(-1)

    def _interpreter(self) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """This thread's (interpreter, input details, output details)."""
        if not hasattr(self._local, "loaded"):
            self._local.loaded = self._load()
        return self._local.loaded

    def _load(self) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        shape = [1, self.resolution, self.resolution, 3] if self._resized else None
        interpreter = open_interpreter(
            self._path, f"model {str(self._path)!r}", self._kernels, input_shape=shape
        )
        return interpreter, interpreter.get_input_details()[0], interpreter.get_output_details()[0]


def _ends_in_softmax(graph: flatbuffer.Graph) -> bool:
    """Whether the scores are probabilities already, whatever else reshapes or requantizes them."""
    tensor = graph.outputs[0]
    while (place := graph.producers.get(tensor)) is not None:
        operator = graph.operators[place]
        if operator.name not in _UNCHANGING or not operator.inputs:
            return operator.name == "SOFTMAX"
        tensor = operator.inputs[0]
    return False


def _input_tensor(tensor: flatbuffer.Tensor) -> InputTensor:
    if tensor.is_float or len(tensor.scales) != 1:
        return InputTensor(tensor.dtype)
    return InputTensor(tensor.dtype, float(tensor.scales[0]), int(tensor.zero_points[0]))


def _own(
    facts: file_facts.FileFacts | None, metadata: tflite_metadata.Metadata, path: str | pathlib.Path
) -> Normalization | None:
    """What the file itself says of its input."""
    if facts:
        return Normalization(
            (facts.input_mean,), (facts.input_std,), f"nas_tf's own note in {pathlib.Path(path).name!r}"
        )
    if metadata.mean or metadata.std:
        return Normalization(
            metadata.mean, metadata.std, f"the TFLite metadata of {pathlib.Path(path).name!r}"
        )
    return None
