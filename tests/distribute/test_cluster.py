"""TF_CONFIG as it comes from operators and scripts, and what is said of one that is wrong."""

import json

import pytest

from nas_tf.base.errors import UserError
from nas_tf.distribute import launch
from nas_tf.distribute.cluster import Cluster, read_cluster


def config(kind="worker", index=0, **jobs) -> str:
    return json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})


def test_workers_alone_and_with_a_chief():
    assert read_cluster(config(index=1, worker=["a:1", "b:2"])) == Cluster(("a:1", "b:2"), 1)
    jobs = {"worker": ["b:2", "c:3"], "chief": ["a:1"]}
    assert read_cluster(config("worker", 1, **jobs)) == Cluster(("a:1", "b:2", "c:3"), 2)
    chief = read_cluster(config("chief", 0, **jobs))
    assert chief.is_chief and chief.count == 3
    # What the others are told is the same cluster.
    assert read_cluster(chief.to_json(2)) == Cluster(("a:1", "b:2", "c:3"), 2)


def test_devices_of_one_host_are_counted():
    addresses = ("a:1", "b:1", "a:2", "a:3", "b:2")
    assert [Cluster(addresses, rank).place_on_host for rank in range(5)] == [0, 0, 1, 2, 1]


@pytest.mark.parametrize(
    "text,message",
    [
        ("", "set --num_devices to start them on this machine, or TF_CONFIG"),
        ("[1]", r"TF_CONFIG is '\[1\]'; it must have the form"),
        ("{nonsense", "must have the form"),
        (config(worker=["a"]), "has the address 'a'; host:port is needed"),
        (config(worker=["a:65535"]), "with a port of 1 to 65534"),
        (config(index=2, worker=["a:1", "b:1"]), "this process is 'worker' 2, but the cluster has 2 of them"),
        (config("evaluator", 0, worker=["a:1"]), "this process is 'evaluator' 0"),
        (config(worker=["a:1"], ps=["b:1"]), "names the jobs ps, worker; allowed: worker, and one chief"),
        (config(worker=["a:1", "a:1"]), "names an address twice: a:1, a:1"),
    ],
)
def test_what_is_wrong_is_said(text, message):
    with pytest.raises(UserError, match=message):
        read_cluster(text)


def test_local_processes_have_ports_of_their_own_and_the_next_free():
    ports = [int(a.rpartition(":")[2]) for a in launch.local_cluster(8).addresses]
    assert len({p for port in ports for p in (port, port + 1)}) == 16


@pytest.mark.parametrize("text", ["0", "-1", "two", "2000", "1.5"])
def test_a_number_of_devices_is_a_number(text):
    with pytest.raises(UserError, match="allowed: auto, or 1 to 1024"):
        launch.number_of_devices(text)
