"""Which processes there are: read from `TF_CONFIG`, the form that TensorFlow and its operators share.

    {"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}

The chief is the job `chief` where there is one, else the first worker. TensorFlow listens on a
process's port; the chief's next higher port is for what the processes tell each other beside it.
"""

import dataclasses
import json
import os
from typing import Any

from nas_tf.base.errors import UserError, quoted, require

VARIABLE = "TF_CONFIG"
_JOBS = ("chief", "worker")
_FORM = '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'


@dataclasses.dataclass(frozen=True)
class Cluster:
    """All processes of a run, and which of them this is.

    Attributes:
      addresses: `host:port` of each, the chief's first.
      rank: the place of this process among them.
    """

    addresses: tuple[str, ...]
    rank: int

    @property
    def count(self) -> int:
        """How many processes there are."""
        return len(self.addresses)

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that locks, logs and saves."""
        return self.rank == 0

    @property
    def place_on_host(self) -> int:
        """How many processes of smaller rank have the same host: which of its devices is this one's."""
        hosts = [host_port(address)[0] for address in self.addresses]
        return hosts[: self.rank].count(hosts[self.rank])

    def name(self, rank: int) -> str:
        """A process in words."""
        return f"{'the chief' if rank == 0 else f'worker {rank}'} ({self.addresses[rank]})"

    def to_json(self, rank: int) -> str:
        """`TF_CONFIG` of a process."""
        cluster = {"worker": list(self.addresses)}
        return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})


def read_cluster(text: str | None = None) -> Cluster:
    """The cluster in `TF_CONFIG`.

    Raises:
      UserError: there is none, or it is not of the form that is needed here.
    """
    text = os.environ.get(VARIABLE, "") if text is None else text
    require(
        bool(text.strip()),
        "--distribution=multi_worker needs to know its processes: set --num_devices to start them on this "
        f"machine, or {VARIABLE} in the environment of each ({_FORM}).",
    )
    try:
        held = json.loads(text)
        jobs, task = held["cluster"], held["task"]
        kind, index = task["type"], int(task["index"])
        addresses = {job: [str(a) for a in jobs[job]] for job in jobs}
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{VARIABLE} is {quoted(text)}; it must have the form {_FORM}.") from error
    return _cluster(addresses, kind, index)


def _cluster(addresses: dict[str, list[str]], kind: Any, index: int) -> Cluster:
    others = sorted(addresses.keys() - set(_JOBS))
    require(
        not others and len(addresses.get("chief", [])) <= 1,
        f"{VARIABLE} names the jobs {', '.join(sorted(addresses))}; allowed: worker, and one chief.",
    )
    have = len(addresses.get(kind, ())) if isinstance(kind, str) else 0
    require(
        0 <= index < have,
        f"{VARIABLE} says that this process is {quoted(kind)} {index}, but the cluster has {have} of them.",
    )
    every = [address for job in _JOBS for address in addresses.get(job, [])]
    for address in every:
        host_port(address)
    require(len(set(every)) == len(every), f"{VARIABLE} names an address twice: {', '.join(every)}.")
    return Cluster(tuple(every), index + (len(addresses.get("chief", [])) if kind == "worker" else 0))


def host_port(address: str) -> tuple[str, int]:
    """Both parts of `host:port`; `UserError` for anything else."""
    host, _, port = address.rpartition(":")
    require(
        bool(host) and port.isdecimal() and 0 < int(port) < 65535,
        f"{VARIABLE} has the address {quoted(address)}; host:port is needed, with a port of 1 to 65534.",
    )
    return host.strip("[]"), int(port)
