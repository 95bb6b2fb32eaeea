"""One connection between two processes: lines of JSON, and a heartbeat in both directions."""

import json
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

_BEAT_SECONDS = 1.0
_MOST_BYTES = 1 << 26  # of one line


class Line:
    """Sends and receives; says once when nothing comes any more.

    Args:
      connection: connected; this object closes it.
      lost_seconds: of silence, after which the other side is lost.
      on_message: called in the line's own thread with what asks for action at once; returns
        whether it was that. All else waits for `receive`.
      on_lost: called in the line's own thread, once, with the reason.
    """

    def __init__(
        self,
        connection: socket.socket,
        lost_seconds: float,
        on_message: Callable[[dict[str, Any]], bool],
        on_lost: Callable[[str], None],
    ):
        self._connection, self._lost_seconds = connection, lost_seconds
        self._on_message, self._on_lost = on_message, on_lost
        self._sending, self._closed = threading.Lock(), threading.Event()
        self.received: queue.Queue[dict[str, Any]] = queue.Queue()
        self._connection.settimeout(_BEAT_SECONDS)
        for work in (self._listen, self._beat):
            threading.Thread(target=work, daemon=True).start()

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message; what cannot be sent is dropped, for the listener notices a lost connection."""
        data = json.dumps(message).encode() + b"\n"
        try:
            with self._sending:
                # Not with the listener's time-out, after which half a line would be sent.
                send_all(self._connection, data, self._lost_seconds)
        except OSError:
            pass

    def close(self) -> None:
        """Ends the connection; the other side is not lost by that."""
        self._closed.set()
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._connection.close()

    def wait_closed(self, seconds: float) -> None:
        """Waits for the other side to end the connection."""
        self._closed.wait(seconds)

    def _beat(self) -> None:
        while not self._closed.wait(_BEAT_SECONDS):
            self.send({"beat": 1})

    def _listen(self) -> None:
        reason = "it ended"
        try:
            self._receive_all()
        except ConnectionError:
            pass  # what a process that was killed leaves in place of an end
        except TimeoutError:
            reason = f"nothing was heard of it for {self._lost_seconds:g} seconds"
        except (OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
        if not self._closed.is_set():
            self._closed.set()
            self._on_lost(reason)

    def _receive_all(self) -> None:
        held, silent = b"", 0
        while not self._closed.is_set():
            try:
                data = self._connection.recv(1 << 16)
            except TimeoutError:
                # Counted in waits and not by the clock: when this process itself was held, the other's
                # heartbeats lie ready, and nobody is lost.
                silent += 1
                if silent * _BEAT_SECONDS >= self._lost_seconds:
                    raise
                continue
            if not data:
                return
            silent, held = 0, held + data
            if len(held) > _MOST_BYTES:
                raise ValueError("it sent a line without end")
            *lines, held = held.split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, message: Any) -> None:
        if not isinstance(message, dict):
            raise ValueError("it sent what is no message")
        if "beat" not in message and not self._on_message(message):
            self.received.put(message)


def send_all(connection: socket.socket, data: bytes, seconds: float) -> None:
    """`sendall` that outlasts the connection's own time-out."""
    left, waits = memoryview(data), 0
    while left:
        try:
            left = left[connection.send(left) :]
        except TimeoutError:
            waits += 1
            if waits * _BEAT_SECONDS >= seconds:
                raise
