"""Standard output and error of a command, whatever they are connected to: as other Unix tools behave."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator

# What shells give a program that a closed pipe ended: 128 + SIGPIPE.
BROKEN_PIPE = 141


class OutputError(OSError):
    """The standard output cannot be written; an `OSError` else is of some file."""

    def sentence(self) -> str:
        """For people."""
        return f"Cannot write to the standard output: {self.strerror}."


class _Output(io.TextIOWrapper):
    """A stream whose errors are known as those of the output.

    Of text and not of the descriptor below it: a signal that arrived in a `write` of ours there, after the
    data had gone out, would leave the data in the buffer to be written once more.
    """

    def write(self, text: str) -> int:
        """As `io.TextIOWrapper.write`."""
        with _known_as_output():
            return super().write(text)

    def flush(self) -> None:
        """As `io.TextIOWrapper.flush`."""
        with _known_as_output():
            super().flush()


@contextlib.contextmanager
def _known_as_output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(error.errno, error.strerror) from error


def make_writable() -> None:
    """Streams that take every character; nothing is shown by one that was closed (`>&-`)."""
    _require_utf8_names()
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            # The descriptor too: else the next file that is opened gets it, and what C++ prints.
            _to_nowhere(number)
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))
        elif mode == "w" and getattr(stream, "errors", "") == "strict" and hasattr(stream, "reconfigure"):
            # A name or a "±" that the terminal's encoding lacks should not end a command.
            stream.reconfigure(errors="backslashreplace")
    _tell_output_apart()


def end(status: int | str | None) -> int | str | None:
    """Writes what is left to be written, at the end of a command.

    Args:
      status: the command's exit status.

    Returns:
      The exit status, another one if the output could not be written.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        # Or else Python tries again when it ends, and says so in lines of its own.
        _to_nowhere(1)
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE
        if not status:
            say(f"error: {OutputError(error.errno, error.strerror).sentence()}")
            return 1
    return status


def say(text: str) -> None:
    """A line on the error stream, if anybody can read it."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _to_nowhere(2)


def _tell_output_apart() -> None:
    """Puts an `_Output` under the standard output."""
    stream = sys.stdout
    # A test's stand-in has no descriptor of its own.
    if stream is not sys.__stdout__ or not isinstance(stream, io.TextIOWrapper):
        return
    settings = {
        "encoding": stream.encoding,
        "errors": stream.errors,
        "line_buffering": stream.line_buffering,
        "write_through": stream.write_through,
    }
    stream.flush()
    # Detached, or the old one would close what is below. That stays as it is: with `python -u` unbuffered.
    sys.stdout = sys.__stdout__ = _Output(stream.detach(), **settings)  # type: ignore[misc,arg-type]


def _require_utf8_names() -> None:
    """Starts Python anew where it takes names of files for ASCII, as TensorFlow takes them for UTF-8.

    Python does so where the locale is C and its UTF-8 mode was turned off.
    """
    if sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        os.execve(sys.executable, sys.orig_argv, os.environ | {"PYTHONUTF8": "1"})


def _to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    # The lowest free number may be the very one.
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
