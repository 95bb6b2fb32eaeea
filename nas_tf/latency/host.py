"""Timing `.tflite` models on this machine with ai-edge-litert."""

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import re
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

try:
    import resource
except ImportError:
    resource = None  # type: ignore[assignment]  # Windows has none

from nas_tf.base.errors import require
from nas_tf.base.interpreter import DEFAULT_KERNELS, open_interpreter, refusing, require_kernels
from nas_tf.latency.timing import Samples

_MAX_MODEL_BYTES = 1 << 30  # far above any network for a phone


@dataclasses.dataclass(frozen=True)
class HostConfig:
    """How models run here.

    Attributes:
      kernels: of `nas_tf.base.interpreter.KERNELS`; a latency table belongs to one of them.
      invokes: runs of a model each time that it is its turn; the first is not counted if
        there are several: it alone finds its weights out of the cache, which in an app that
        classifies again and again, and in a network after its first run, they are not.
    """

    # On two cores, two threads took about ten times as long for small networks.
    num_threads: int = 1
    kernels: str = DEFAULT_KERNELS
    invokes: int = 2


class HostDevice:
    """This machine; models stay loaded from one pass to the next."""

    batch_size = 1_000_000  # no limit: nothing is lost between two models

    def __init__(self, config: HostConfig):
        require_kernels(config.kernels)
        cores = usable_cores()
        require(
            1 <= config.num_threads <= cores,
            f"num_threads={config.num_threads}; this machine offers 1 to {cores}.",
        )
        self._config = config
        self._loaded: dict[tuple[pathlib.Path, str], tuple] = {}

    def identity_fields(self) -> dict:
        """What a table measured here says of its origin."""
        return {
            "device": processor_name(),
            "backend": "host",
            "runtime": f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}",
            "kernels": self._config.kernels,
            "num_threads": self._config.num_threads,
            "details": {
                "cores": usable_cores(),
                "system": platform.platform(),
                "invokes": self._config.invokes,
            },
        }

    def time_round(self, models: Mapping[str, pathlib.Path]) -> Samples:
        """One turn of every model, in ms."""
        return {name: self._turn(path) for name, path in models.items()}

    def use_kernels(self, kernels: str) -> None:
        """Runs models with these kernels from now on."""
        require_kernels(kernels)
        self._config = dataclasses.replace(self._config, kernels=kernels)

    def close(self) -> None:
        """Frees the loaded models."""
        self._loaded.clear()

    def _turn(self, path: pathlib.Path) -> list[float]:
        known = (path, self._config.kernels)
        if known not in self._loaded:
            self._loaded[known] = load_interpreter(path, self._config)
        interpreter, index, value = self._loaded[known]
        # In a network the layer before has just written this input: it is in the cache.
        interpreter.set_tensor(index, value)
        times = [self._invoke_ms(interpreter) for _ in range(self._config.invokes)]
        # Of several runs, the first alone finds its weights out of the cache.
        return times[1:] or times

    def _invoke_ms(self, interpreter: Any) -> float:
        """Wall time of one run, without the time that other processes had the core.

        Where the thread was preempted its own processor time is taken instead. With more
        than one thread that cannot be told, and all wall time counts.
        """
        preemptions, busy = _preemptions(), time.thread_time()
        start = time.perf_counter()
        interpreter.invoke()
        wall = time.perf_counter() - start
        busy = time.thread_time() - busy
        alone = self._config.num_threads > 1 or _preemptions() == preemptions
        return 1e3 * (wall if alone else min(wall, busy))


def load_interpreter(path: pathlib.Path, config: HostConfig) -> tuple[Any, int, np.ndarray]:
    """A warm interpreter with the index and a random value of its input.

    Returns:
      (interpreter, input index, array); the interpreter has run once, so memory is mapped.

    Raises:
      UserError: the file is no model that this runtime runs.
    """
    require_model_file(path)
    what = f"model {str(path)!r}"
    interpreter = open_interpreter(path, what, config.kernels, config.num_threads)
    details = interpreter.get_input_details()
    require(len(details) == 1, f"The {what} has {len(details)} inputs; one is needed.")
    with refusing(what):
        value = random_input(details[0]["shape"], details[0]["dtype"])
        interpreter.set_tensor(details[0]["index"], value)
        interpreter.invoke()
    return interpreter, details[0]["index"], value


def require_model_file(path: pathlib.Path) -> None:
    """Raises `UserError` unless `path` looks like a `.tflite` file of a sane size."""
    require(path.is_file(), f"There is no model file {str(path)!r}.")
    size = path.stat().st_size
    require(
        8 <= size <= _MAX_MODEL_BYTES,
        f"The model file {str(path)!r} has {size} bytes; 8 to {_MAX_MODEL_BYTES} are allowed.",
    )
    with path.open("rb") as file:
        # A TFLite flatbuffer carries its file identifier after the root offset.
        require(file.read(8)[4:] == b"TFL3", f"{str(path)!r} is not a .tflite file.")


def random_input(shape: np.ndarray, dtype: type) -> np.ndarray:
    """Noise over the whole range of an integer type, or in [−1, 1]."""
    random = np.random.default_rng(0)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return random.uniform(-1, 1, shape).astype(dtype)


def _preemptions() -> int:
    """How often this thread had to leave its core to another; 0 where that is not counted."""
    thread = getattr(resource, "RUSAGE_THREAD", None) if resource else None
    return resource.getrusage(thread).ru_nivcsw if thread is not None else 0


def processor_name() -> str:
    """The processor's model name."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
