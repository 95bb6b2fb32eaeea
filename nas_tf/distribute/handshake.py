"""All processes find each other before TensorFlow connects them, which would wait for ever."""

import json
import socket
import time
from collections.abc import Mapping
from typing import Any

from nas_tf.base.errors import UserError, quoted
from nas_tf.distribute.cluster import Cluster, host_port

_RETRY_SECONDS = 0.2
_HELLO_SECONDS = 10.0
_HELLO_BYTES = 1 << 16
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def meet(cluster: Cluster, facts: Mapping[str, str], wait_seconds: float) -> dict[int, socket.socket]:
    """Connects the chief with every other process.

    Args:
      facts: what has to be the same in all of them, by name.
      wait_seconds: for the last one to be there.

    Returns:
      Rank → connection: of the chief to all others, of the others to the chief alone.

    Raises:
      UserError: not all came in time, or their facts differ.
    """
    hello = {"rank": cluster.rank, "addresses": list(cluster.addresses), "facts": dict(facts)}
    end = time.monotonic() + wait_seconds
    return _gather(cluster, hello, wait_seconds, end) if cluster.is_chief else _join(cluster, hello, end)


def meeting_place(cluster: Cluster) -> tuple[str, int]:
    """Host and port on which the chief is met: the one after that of its TensorFlow."""
    host, port = host_port(cluster.addresses[0])
    return host, port + 1


def _gather(
    cluster: Cluster, hello: dict[str, Any], wait_seconds: float, end: float
) -> dict[int, socket.socket]:
    host, port = meeting_place(cluster)
    found: dict[int, socket.socket] = {}
    with _listening(host, port) as server:
        while len(found) < cluster.count - 1:
            server.settimeout(max(0.0, end - time.monotonic()) or 1e-3)
            try:
                connection, _ = server.accept()
            except TimeoutError:
                missing = [cluster.name(r) for r in range(1, cluster.count) if r not in found]
                _end_all(found, text := _not_there(cluster, missing, wait_seconds))
                raise UserError(text) from None
            theirs = _hello_of(connection)
            # A port scanner, or a process of another program: not one of ours.
            if theirs is None:
                connection.close()
                continue
            fault = _fault(hello, theirs, cluster, found)
            if fault:
                _end_all({**found, -1: connection}, fault)
                raise UserError(fault)
            found[theirs["rank"]] = connection
    for connection in found.values():
        _send(connection, {"welcome": cluster.count})
    return found


def _listening(host: str, port: int) -> socket.socket:
    # Elsewhere than on the loopback, the name that others use need not be one of this machine's.
    place = (host if host in _LOOPBACK else "", port)
    try:
        return socket.create_server(place, backlog=1024)
    except OSError as error:
        raise UserError(
            f"The chief cannot listen on port {port}, the one after its own in TF_CONFIG: {error.strerror}; "
            "use an address whose next port is free too."
        ) from error


def _not_there(cluster: Cluster, missing: list[str], seconds: float) -> str:
    return (
        f"Of {cluster.count} processes {len(missing)} did not come within {seconds:g} seconds "
        f"({', '.join(missing[:4])}{', …' if len(missing) > 4 else ''}); start the same command in each of "
        "them, and see that they reach the chief's port and the next one."
    )


def _fault(hello: dict[str, Any], theirs: dict[str, Any], cluster: Cluster, found: Mapping[int, Any]) -> str:
    """Why a process cannot take part, in one sentence; "" if it can."""
    rank = theirs.get("rank")
    if theirs.get("addresses") != hello["addresses"]:
        return (
            f"A process has another list of addresses, {quoted(theirs.get('addresses'))}; all need the same."
        )
    if not isinstance(rank, int) or not 0 < rank < cluster.count or rank in found:
        return (
            f"Two processes say that they are number {quoted(rank)} of the cluster; each is one of its own."
        )
    facts = theirs.get("facts")
    for name, value in hello["facts"].items():
        other = facts.get(name) if isinstance(facts, dict) else None
        if other != value:
            return f"{_capital(cluster.name(rank))} has another {name} ({other}) than the chief ({value})."
    return ""


def _join(cluster: Cluster, hello: dict[str, Any], end: float) -> dict[int, socket.socket]:
    began, (host, port) = time.monotonic(), meeting_place(cluster)
    while True:
        connection = _connected(host, port)
        if connection is not None:
            _send(connection, hello)
            # The chief answers when all are there.
            answer = _line_of(connection, max(1.0, end - time.monotonic()) + _HELLO_SECONDS)
            if answer is not None:
                break
            connection.close()
        if time.monotonic() > end:
            raise UserError(
                f"The chief did not answer on {host}:{port} within {time.monotonic() - began:.0f} seconds; "
                "start it, and see that its port and the next one can be reached from here."
            )
        time.sleep(_RETRY_SECONDS)
    if "error" in answer:
        connection.close()
        raise UserError(str(answer["error"]))
    return {0: connection}


def _connected(host: str, port: int) -> socket.socket | None:
    try:
        return socket.create_connection((host, port), timeout=5.0)
    except OSError:  # not there yet, nor perhaps its name
        return None


def _hello_of(connection: socket.socket) -> dict[str, Any] | None:
    hello = _line_of(connection, _HELLO_SECONDS)
    return hello if hello is not None and "rank" in hello else None


def _line_of(connection: socket.socket, seconds: float) -> dict[str, Any] | None:
    """One line of JSON and not a byte more; None if it does not come, or is something else."""
    connection.settimeout(seconds)
    held = b""
    try:
        while not held.endswith(b"\n"):
            byte = connection.recv(1)
            if not byte or len(held) > _HELLO_BYTES:
                return None
            held += byte
        found = json.loads(held)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    try:
        connection.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        pass  # noticed by whoever reads from it


def _end_all(connections: Mapping[int, socket.socket], why: str) -> None:
    for connection in connections.values():
        _send(connection, {"error": why})
        connection.close()


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
