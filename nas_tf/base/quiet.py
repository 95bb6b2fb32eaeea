"""Holding back what a C++ library prints around a call."""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO

from absl import logging


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing that is printed or logged inside reaches the terminal, from C++ neither.

    If the body raises, what was held back from the error stream is printed after all.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    # What Python still buffers belongs before what is held back.
    sys.stderr.flush()
    saved = os.dup(2)  # C++ writes to the descriptor and does not know `sys.stderr`
    with _sink() as sink, contextlib.redirect_stdout(io.StringIO()):
        os.dup2(sink.fileno(), 2)
        try:
            yield
        except Exception:
            # It may say what went wrong.
            sink.seek(0)
            os.write(saved, sink.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            logging.set_verbosity(verbosity)


def _sink() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError:  # no folder for temporary files has room; what is held back is then lost
        return open(os.devnull, "r+b")
