"""An end to calls that Python cannot interrupt, for they hold its lock and wait for another process."""

import contextlib
import faulthandler
import os
import subprocess
import sys
from collections.abc import Iterator

# Reads to the end of its input, which comes when the process that it watches says that it is done, or has
# ended. Of the latter it tells an end at the limit from others, such as `kill -9`, by the time.
_WATCH = """
import sys, time
seconds, sentence, began = float(sys.argv[1]), sys.argv[2], time.monotonic()
done = sys.stdin.read()
if not done and time.monotonic() - began > seconds - 0.5:
    print(sentence, file=sys.stderr, flush=True)
"""


@contextlib.contextmanager
def at_most(seconds: float, sentence: str) -> Iterator[None]:
    """Ends this process with status 1 and a sentence if the body takes longer.

    By a timer in C and a process of its own: nothing in Python runs while the body holds its lock.
    """
    # Without -I it would look for modules in the current folder first.
    command = [sys.executable, "-I", "-S", "-c", _WATCH, f"{seconds:g}", f"error: {sentence}"]
    with (
        open(os.devnull, "w") as nowhere,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as watch,
    ):
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            watch.communicate(b"done")
