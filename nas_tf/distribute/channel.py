"""What processes tell each other beside the steps: that they live, agree, go on, fail, or are done."""

import contextlib
import hashlib
import json
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nas_tf.base import stopping, streams
from nas_tf.base.errors import UserError
from nas_tf.distribute.cluster import Cluster
from nas_tf.distribute.line import Line

# After a failure is known, until a process that does not end by itself is ended.
GRACE_SECONDS = 30.0
# What was under way when another process was asked to end may still come to its own end.
_STOP_SECONDS = 5.0
_SAVE_SECONDS = 300.0
_GO_ON = (
    "the same command goes on from the last checkpoint, with as many processes or with another number that "
    "divides --shards"
)


class Channel:
    """Connections of the chief with all others, from the handshake to the end.

    Args:
      cluster: who takes part.
      connections: of `nas_tf.distribute.handshake.meet`.
      lost_seconds: of silence, after which a process is lost.

    Attributes:
      failure: why the run ends, in one sentence; "" while nothing is wrong.
      on_failure: called, in another thread, once the run has to end: ends what waits for others.
    """

    def __init__(self, cluster: Cluster, connections: Mapping[int, socket.socket], lost_seconds: float):
        self._cluster, self.failure, self._stopped = cluster, "", False
        self.on_failure: Callable[[], None] = lambda: None
        self._interrupts = False
        self._gone: set[int] = set()
        self._leaving, self._deciding = threading.Event(), threading.RLock()
        self._lines: dict[int, Line] = {}
        with self._deciding:  # a line may fail before all are there
            for rank, connection in sorted(connections.items()):
                self._lines[rank] = Line(
                    connection,
                    lost_seconds,
                    lambda message, rank=rank: self._at_once(rank, message),  # type: ignore[misc]
                    lambda reason, rank=rank: self._lost(rank, reason),  # type: ignore[misc]
                )

    def check(self) -> None:
        """Raises what ends the run, if anything does."""
        if self.failure:
            raise UserError(self.failure)
        if self._stopped:
            raise stopping.Terminated

    def chief_says(self, value: Any = None) -> Any:
        """The chief's value, which must survive JSON, in all processes."""
        if self._cluster.is_chief:
            self._tell({"value": value})
            return value
        return self._hear(0, "value")["value"]

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """What ends the run ends the body, in which this process waits for nobody, like SIGTERM."""
        self._interrupts = True
        try:
            self.check()
            yield
        finally:
            self._interrupts = False

    def wait_for_chief(self) -> None:
        """Waits until the chief says something; SIGTERM ends that at once, for nothing is under way here."""
        self._hear(0, "value", meanwhile=stopping.check)

    def agree(self, what: str, value: Any, advice: str) -> None:
        """Raises `UserError` in all processes unless all have the same value, which must survive JSON."""
        text = json.dumps(value, sort_keys=True)
        own = hashlib.sha256(text.encode()).hexdigest()
        if not self._cluster.is_chief:
            self._tell({"agree": what, "digest": own, "value": value})
            self._hear(0, "agreed")
            return
        for rank in self._lines:
            theirs = self._hear(rank, "agree")
            if (theirs["agree"], theirs.get("digest")) != (what, own):
                differing = _differing(json.loads(text), theirs.get("value"))
                name = self._cluster.name(rank)
                self.end(
                    f"{name[0].upper()}{name[1:]} has another {what} than the chief{differing}; {advice}."
                )
                self.check()
        self._tell({"agreed": what})

    def end(self, sentence: str) -> None:
        """Ends the run in all processes, for the reason given."""
        self._fail(sentence, except_for=None)

    def finish(self) -> None:
        """Waits for all to be done, then parts."""
        if self._cluster.is_chief:
            for rank in self._lines:
                self._hear(rank, "done")
            self._leaving.set()
            self._tell({"done": True})
        else:
            self._tell({"done": True})
            self._hear(0, "done")
        self.close()

    def stop(self) -> None:
        """Parts because this process was asked to end; the chief, which may be saving, parts last."""
        self._leaving.set()
        self._tell({"stopped": True})
        if not self._cluster.is_chief:
            self._lines[0].wait_closed(_SAVE_SECONDS)
        self.close()

    def close(self) -> None:
        """Ends all connections."""
        self._leaving.set()
        for line in self._lines.values():
            line.close()

    def _tell(self, message: dict[str, Any]) -> None:
        for line in self._lines.values():
            line.send(message)

    def _hear(self, rank: int, kind: str, meanwhile: Callable[[], None] = lambda: None) -> dict[str, Any]:
        while True:
            # Asked before looking: what another said and then parted is not lost, however late this looks.
            over = bool(self.failure) or self._stopped
            try:
                message = self._lines[rank].received.get(timeout=0 if over else 0.2)
            except queue.Empty:
                if over:
                    self.check()
                meanwhile()
                continue
            if kind in message:
                return message
            self.end(f"{self._cluster.name(rank)} is at another place of the program than this process")

    def _at_once(self, rank: int, message: dict[str, Any]) -> bool:
        if "error" in message:
            self._fail(str(message["error"]), except_for=rank)
        elif "stopped" in message:
            self._gone.add(rank)
            threading.Thread(target=self._stop_soon, daemon=True).start()
        else:
            return False
        return True

    def _lost(self, rank: int, reason: str) -> None:
        with self._deciding:
            if self._leaving.is_set() or rank in self._gone:
                return
        self._fail(f"Lost {self._cluster.name(rank)}: {reason}; {_GO_ON}.", except_for=rank)

    def _stop_soon(self) -> None:
        if not self._leaving.wait(_STOP_SECONDS):
            self._stopped = True
            self._end_what_waits()

    def _fail(self, sentence: str, except_for: int | None) -> None:
        with self._deciding:
            if self.failure or self._leaving.is_set():
                return
            self.failure = sentence
        for rank, line in self._lines.items():
            if rank != except_for:
                line.send({"error": sentence})
        self._end_what_waits()
        threading.Thread(target=self._end_by_force, daemon=True).start()

    def _end_what_waits(self) -> None:
        self.on_failure()
        if self._interrupts:
            stopping.ask()

    def _end_by_force(self) -> None:
        # What waits in TensorFlow for another process ends by `on_failure`; what does not, ends here.
        if not self._leaving.wait(GRACE_SECONDS):
            streams.say(f"error: {self.failure}")
            os._exit(1)


def _differing(own: Any, theirs: Any) -> str:
    """The first setting that differs, in words."""
    if not isinstance(own, dict) or not isinstance(theirs, dict):
        return ""
    for name in sorted(own.keys() | theirs.keys()):
        mine, other = own.get(name), theirs.get(name)
        if mine != other:
            if isinstance(mine, dict) and isinstance(other, dict):
                return _differing(mine, other)
            return f" ({name}: {_short(other)} there, {_short(mine)} here)"
    return ""


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
