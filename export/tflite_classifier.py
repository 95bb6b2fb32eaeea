"""Running any `.tflite` image classifier on uint8 images, on all cores."""

import concurrent.futures
import pathlib
import threading

import numpy as np

from nas_tf.errors import UserError, require
from nas_tf.latency.host import KERNELS, usable_cores
from nas_tf.quiet import quiet
from quant import flatbuffer

_LOADING = threading.Lock()
_TYPES = {"uint8": np.uint8, "int8": np.int8, "float32": np.float32}


class TFLiteClassifier:
    """A `.tflite` file with one image input and one vector of class scores.

    One interpreter with one thread a core: the interpreter lets go of Python's lock while it
    runs, and small networks gain nothing from threads inside of one.

    Args:
      path: the file; it is untrusted, and parsed before the interpreter sees it.
      num_workers: interpreters; 0: one a core.
      kernels: "xnnpack", TFLite's default, or "builtin", which round twice.

    Attributes:
      resolution: side of the square input.
      num_outputs: class scores, background included.
      input_type: uint8, int8 or float32.

    Raises:
      UserError: the file is no flatbuffer, or no classifier of square RGB images.
    """

    def __init__(self, path: str | pathlib.Path, num_workers: int = 0, kernels: str = "xnnpack"):
        require(kernels in KERNELS, f"kernels={kernels!r}; allowed: {', '.join(KERNELS)}.")
        self._kernels = kernels
        self._path, self._local = pathlib.Path(path), threading.local()
        graph = flatbuffer.read_file(path).main
        require(len(graph.inputs) == 1 and len(graph.outputs) == 1,
                f"The model {str(path)!r} has {len(graph.inputs)} inputs and {len(graph.outputs)} "
                "outputs; a classifier has one of each.")
        source, scores = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
        self._check_input(source)
        self.resolution, self.num_outputs = source.shape[1], scores.shape[-1]
        self.input_type = source.dtype
        require(int(np.prod(scores.shape)) == self.num_outputs and scores.dtype in _TYPES,
                f"The model {str(path)!r} gives {scores.dtype} {list(scores.shape)}; needed are "
                "class scores [1, classes] of uint8, int8 or float32.")
        # Made here, so that a file that does not run is refused before any image is read.
        self._interpreter()
        self._pool = concurrent.futures.ThreadPoolExecutor(num_workers or usable_cores())

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Class scores [N, num_outputs] of uint8 images [N, resolution, resolution, 3].

        Integer scores stay as they are: dequantizing them changes no order.
        """
        return np.stack(list(self._pool.map(self._one, images)))

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown()

    def _check_input(self, tensor: flatbuffer.Tensor) -> None:
        shape = list(tensor.shape)
        require(len(shape) == 4 and shape[0] == 1 and shape[1] == shape[2] > 0 and shape[3] == 3
                and tensor.dtype in _TYPES,
                f"The model {str(self._path)!r} takes {tensor.dtype} {shape}; needed is one square "
                "RGB image [1, side, side, 3] of uint8, int8 or float32.")
        require(tensor.is_float or len(tensor.scales) == 1 and tensor.scales[0] > 0,
                f"The model {str(self._path)!r} has an integer input without a scale.")

    def _one(self, image: np.ndarray) -> np.ndarray:
        interpreter, source, scores = self._interpreter()
        interpreter.set_tensor(source["index"], to_input(
            image, _TYPES[self.input_type], *source["quantization"])[np.newaxis])
        interpreter.invoke()
        return interpreter.get_tensor(scores["index"]).reshape(-1)

    def _interpreter(self):
        """This thread's (interpreter, input details, output details)."""
        if not hasattr(self._local, "loaded"):
            self._local.loaded = self._load()
        return self._local.loaded

    def _load(self):
        from ai_edge_litert.interpreter import (  # pylint: disable=import-outside-toplevel
            Interpreter, OpResolverType)

        resolver = {"xnnpack": OpResolverType.AUTO,
                    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}[self._kernels]
        try:
            # One at a time: what a delegate prints is held back for the whole process.
            with _LOADING, quiet():
                interpreter = Interpreter(str(self._path), num_threads=1,
                                          experimental_op_resolver_type=resolver)
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"The model {str(self._path)!r} does not run here: {reason}") from error
        return interpreter, interpreter.get_input_details()[0], interpreter.get_output_details()[0]


def to_input(image: np.ndarray, dtype: type, scale: float, zero_point: int) -> np.ndarray:
    """uint8 pixels as a tensor of `dtype`, by the tensor's own scale and zero point.

    A float input gets (x − 128) / 128, the project's convention.
    """
    real = (image.astype(np.float32) - 128) / 128
    if dtype == np.float32:
        return real
    # q = round(real / scale) + zero_point; exactly the pixel for scale 1/128.
    limits = np.iinfo(dtype)
    return np.clip(np.round(real / scale) + zero_point, limits.min, limits.max).astype(dtype)
