"""Opening a `.tflite` file with ai-edge-litert: the one place, for timing, evaluation and checks."""

import contextlib
import pathlib
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from nas_tf.base.errors import UserError, require
from nas_tf.base.quiet import quiet

# TFLite's own kernels, or XNNPACK's, LiteRT's default and so what phones run. They differ in
# time by a factor of four on small int8 networks, and in their rounding.
KERNELS = ("builtin", "xnnpack")
# What a file will run on, so what is measured and judged unless something else is asked for.
DEFAULT_KERNELS = "xnnpack"
_OPENING = threading.Lock()


def require_kernels(kernels: str) -> None:
    """Raises `UserError` unless `kernels` is one of `KERNELS`."""
    require(kernels in KERNELS, f"kernels={kernels!r}; allowed: {', '.join(KERNELS)}.")


def open_interpreter(
    model: bytes | str | pathlib.Path,
    what: str,
    kernels: str = DEFAULT_KERNELS,
    # With two threads on two cores, small networks took about ten times as long.
    num_threads: int = 1,
    input_shape: Sequence[int] | None = None,
) -> Any:
    """An interpreter with its memory allocated.

    Args:
      model: the content of a `.tflite` file, or its path.
      what: names the file in messages: "The {what} does not run here: …".
      kernels: one of `KERNELS`.
      num_threads: of one run.
      input_shape: for a file that leaves the size of its first input open; None: the file's own.

    Raises:
      UserError: unknown kernels, or a file that this runtime does not run.
    """
    require_kernels(kernels)
    # Here, since commands that only parse flags should start fast.
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # AUTO is XNNPACK wherever it has a kernel.
    resolver = {
        "xnnpack": OpResolverType.AUTO,
        # Plain BUILTIN would bring XNNPACK along.
        "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    }[kernels]
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    # One at a time: what a delegate prints is held back for the whole process.
    with refusing(what), _OPENING, quiet():
        interpreter = Interpreter(**source, num_threads=num_threads, experimental_op_resolver_type=resolver)
        if input_shape is not None:
            interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], input_shape)
        interpreter.allocate_tensors()
    return interpreter


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """What the runtime raises inside becomes a `UserError` of one line that names the file."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        # The runtime's messages have lines, and a full stop at the end or not.
        reason = re.sub(r"\s+", " ", str(error)).strip().removesuffix(".")
        raise UserError(f"The {what} does not run here: {reason}.") from error
