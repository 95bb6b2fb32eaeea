"""Progress of long work: a bar with time left on a terminal, one line per epoch elsewhere."""

import math
import sys
import time
from typing import TextIO

from tqdm import tqdm

# Steps between looks at what a run computes. Each waits until the device has done all that it was given, so a
# look at every step would leave a fast one idle while the host prepares the next.
LOOK_EVERY = 50


class Progress:
    """Shows how far a run is; a context manager, or call `close`.

    On a terminal: one bar with rate, time left and the latest figures. Elsewhere (a log
    file, a pipe): only what is given to `note`, each line with the time left.

    Args:
      title: name of the stage.
      total_steps: where it ends.
      start_step: where a resumed run takes up; time left is reckoned from there.
      stream: default standard error.
    """

    def __init__(self, title: str, total_steps: int, start_step: int = 0, stream: TextIO | None = None):
        self._title, self._total = title, total_steps
        self._start, self._step = start_step, start_step
        self._began = time.monotonic()
        self._stream = stream or sys.stderr
        self._bar = tqdm(
            total=total_steps,
            initial=start_step,
            desc=title,
            file=self._stream,
            dynamic_ncols=True,
            mininterval=0.5,
            leave=False,
            disable=not self._stream.isatty(),
        )

    def update(self, step: int, **figures: float) -> None:
        """Says that `step` steps are done in all; `figures` stand beside the bar."""
        if figures and not self._bar.disable:
            self._bar.set_postfix_str(in_words(figures), refresh=False)
        self._bar.update(step - self._step)
        self._step = step

    def note(self, text: str = "", **figures: float) -> None:
        """Prints one lasting line, such as an epoch's figures."""
        parts = filter(None, (text, in_words(figures), f"{duration(self.seconds_left())} left"))
        # The bar stands in the very line that is printed now.
        self._bar.clear()
        print(f"{self._title}: {', '.join(parts)}", file=self._stream, flush=True)
        self._bar.refresh()

    def seconds_left(self) -> float:
        """Time to the end at the mean rate since the start of this process's share."""
        done = self._step - self._start
        elapsed = time.monotonic() - self._began
        return elapsed / done * (self._total - self._step) if done else float("nan")

    def close(self) -> None:
        """Takes the bar away."""
        self._bar.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def in_words(figures: dict[str, float]) -> str:
    """`loss 1.234, top1 0.5678`: four significant digits."""
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def duration(seconds: float) -> str:
    """`1:02:03` or `4:05`; `?` for a time that is not known."""
    if math.isnan(seconds) or seconds < 0:
        return "?"
    return tqdm.format_interval(seconds)
