"""Timings of a table under way, so that a killed run is taken up where it stopped."""

import dataclasses
import math
import pathlib
import time

from nas_tf.base import files
from nas_tf.base.errors import UserError, quoted, require, shortened
from nas_tf.latency.entries import Identity, identity_from_json
from nas_tf.latency.timing import Samples

_FORMAT = "nas_tf.latency_samples/1"
_SAVE_SECONDS = 2.0  # what a kill may cost; the whole file is written anew each time


class PartialTable:
    """Timings of a run under way, beside the table."""

    def __init__(self, path: pathlib.Path, identity: Identity):
        self.path, self._identity = path, identity
        self._saved = time.monotonic()

    def load(self) -> Samples:
        """Timings of an interrupted run of the same identity; none if there is no such run."""
        if not self.path.exists():
            return {}
        content = files.read_json(self.path, "unfinished latency table")
        where = f"unfinished latency table {str(self.path)!r}"
        try:
            require(
                content["format"] == _FORMAT,
                f"The {where} has format {quoted(content['format'])}; delete it.",
            )
            held = identity_from_json(content["identity"], where)
            samples = {str(name): [float(t) for t in times] for name, times in content["samples"].items()}
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(f"The {where} is damaged ({shortened(repr(error))}); delete it.") from error
        differing = held.differences(self._identity)
        require(
            not differing,
            f"The {where} is of another kind ({'; '.join(differing)}); delete it or choose another --output.",
        )
        require(
            all(math.isfinite(t) and t > 0 for times in samples.values() for t in times),
            f"The {where} has a latency that is not above 0; delete it.",
        )
        return samples

    def save(self, samples: Samples, at_once: bool = False) -> None:
        """Writes the timings, at most every few seconds."""
        if at_once or time.monotonic() - self._saved >= _SAVE_SECONDS:
            files.write_json(
                self.path,
                {"format": _FORMAT, "identity": dataclasses.asdict(self._identity), "samples": samples},
            )
            self._saved = time.monotonic()
