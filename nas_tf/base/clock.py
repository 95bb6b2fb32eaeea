"""Working time of a stage: the `seconds` of its summary.

One rule for every stage. The clock starts when the stage's folder is open and is read for the
summary. Attempts of a run that was cut short add up: an earlier attempt counts up to when it last
saved its state, for what it did after that is done again. So its time is kept with that state: in
the checkpoint (`nas_tf.base.checkpoints`), in a file beside it (`kept_with`), or in the state itself,
as in a search's records of judged networks. A stage that
keeps nothing when it is cut short starts again, its time too.
"""

import contextlib
import pathlib
import time
from collections.abc import Iterator

from nas_tf.base import files

_MOST_SECONDS = 1e9  # thirty years


class Clock:
    """Seconds since it was made, and those of earlier attempts."""

    def __init__(self) -> None:
        # Monotonic: the time of day jumps when somebody sets the clock.
        self._began = time.monotonic()
        self._earlier = 0.0

    def add_earlier(self, seconds: float) -> None:
        """Counts what earlier attempts worked."""
        self._earlier += seconds

    def seconds(self) -> float:
        """Working time so far, of all attempts."""
        return self._earlier + time.monotonic() - self._began


@contextlib.contextmanager
def kept_with(state: str | pathlib.Path) -> Iterator[Clock]:
    """A clock for work that leaves the file `state` when an exception or Ctrl-C cuts it short.

    The time lies beside it, for the next attempt, and counts only as long as `state` is there.
    A process that is killed outright leaves what the attempts before it left.
    """
    state, clock = pathlib.Path(state), Clock()
    path = state.with_suffix(".seconds.json")
    if state.exists():
        clock.add_earlier(_held(path))
    try:
        yield clock
    # Ctrl-C is not an `Exception`.
    except BaseException:
        if state.exists():
            files.write_json(path, {"seconds": clock.seconds()})
        raise
    # The work has ended; the next begins at zero.
    path.unlink(missing_ok=True)


def _held(path: pathlib.Path) -> float:
    """The seconds in the file, 0 if it is not there or holds something else."""
    held = files.read_json(path, "working time") if path.exists() else {}
    seconds = held.get("seconds") if isinstance(held, dict) else None
    # JSON's numbers have no end, and it knows NaN and infinity in Python's reading.
    return float(seconds) if isinstance(seconds, int | float) and 0 <= seconds <= _MOST_SECONDS else 0.0
