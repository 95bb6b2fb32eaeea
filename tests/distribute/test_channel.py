"""How processes meet, agree, lose each other and part; all in this process, on the loopback."""

import contextlib
import socket
import threading
import time

import pytest

from nas_tf.base import stopping
from nas_tf.base.errors import UserError
from nas_tf.distribute import channel as channel_module
from nas_tf.distribute import handshake, launch
from nas_tf.distribute.channel import Channel
from nas_tf.distribute.cluster import Cluster

FACTS = {"version of this program": "1"}


@pytest.fixture(autouse=True)
def _no_end_by_force(monkeypatch):
    monkeypatch.setattr(channel_module, "GRACE_SECONDS", 600.0)


def in_all(count: int, work, clusters=None):
    """What `work(rank, cluster)` returns or raises in each of so many threads."""
    first = launch.local_cluster(count)
    clusters = clusters or [Cluster(first.addresses, rank) for rank in range(count)]
    found = [None] * count

    def run(rank):
        try:
            found[rank] = work(rank, clusters[rank])
        except BaseException as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def opened(cluster, lost_seconds=20.0) -> Channel:
    return Channel(cluster, handshake.meet(cluster, FACTS, 20.0), lost_seconds)


def test_all_hear_the_chief_agree_and_part():
    def work(rank, cluster):
        channel = opened(cluster)
        heard = [channel.chief_says(value) for value in (["restored", 7], None, {"step": 3})]
        channel.agree("state", "abc", "nothing")
        channel.finish()
        return heard

    assert in_all(3, work) == [[["restored", 7], None, {"step": 3}]] * 3


def test_a_chief_that_waits_in_vain_says_for_whom():
    first = launch.local_cluster(4)
    clusters = [Cluster(first.addresses, rank) for rank in (0, 2)]

    def work(_, cluster):
        return handshake.meet(cluster, FACTS, 2.0)

    chief, other = in_all(2, work, clusters)
    message = f"Of 4 processes 2 did not come within 2 seconds (worker 1 ({first.addresses[1]}), worker 3"
    assert isinstance(chief, UserError) and str(chief).startswith(message)
    # The one that came is told the same.
    assert str(other) == str(chief)


def test_a_worker_without_a_chief_says_where_it_looked():
    cluster = Cluster(launch.local_cluster(2).addresses, 1)
    host, port = handshake.meeting_place(cluster)
    with pytest.raises(UserError, match=f"The chief did not answer on {host}:{port} within . seconds"):
        handshake.meet(cluster, FACTS, 2.0)


def test_a_worker_of_another_version_is_refused():
    def work(rank, cluster):
        return handshake.meet(cluster, FACTS if rank != 1 else {"version of this program": "2"}, 20.0)

    found = in_all(2, work)
    assert all(isinstance(error, UserError) for error in found)
    assert "has another version of this program (2) than the chief (1)." in str(found[0])
    assert str(found[0]) == str(found[1])


def test_two_of_one_number_and_another_list_are_refused():
    first = launch.local_cluster(3)
    twice = [Cluster(first.addresses, rank) for rank in (0, 1, 1)]
    found = in_all(3, lambda _, cluster: handshake.meet(cluster, FACTS, 20.0), twice)
    assert "say that they are number 1 of the cluster" in str(found[0])
    other = Cluster((first.addresses[0], "elsewhere:1", first.addresses[2]), 2)
    found = in_all(
        2, lambda _, cluster: handshake.meet(cluster, FACTS, 20.0), [Cluster(first.addresses, 0), other]
    )
    assert "has another list of addresses" in str(found[0])


def test_strangers_on_the_port_are_ignored():
    def work(rank, cluster):
        if rank == 1:
            for said in (b"GET / HTTP/1.0\r\n\r\n", b"[1]\n", b"\x00\xff\n"):
                with _knock(handshake.meeting_place(cluster)) as stranger:
                    stranger.sendall(said)
        channel = opened(cluster)
        channel.finish()
        return "met"

    assert in_all(2, work) == ["met", "met"]


@contextlib.contextmanager
def _knock(place):
    for _ in range(200):
        with contextlib.suppress(ConnectionError):
            with socket.create_connection(place) as connection:
                yield connection
            return
        time.sleep(0.05)


def test_other_settings_are_named_to_all():
    def work(rank, cluster):
        channel = opened(cluster)
        settings = {"shards": 4, "data": {"dataset": "digits", "train_split": ["train", "test"][rank == 2]}}
        channel.agree("setting", settings, "give all processes the same flags")

    found = in_all(3, work)
    assert len({str(error) for error in found}) == 1
    assert 'has another setting than the chief (train_split: "test" there, "train" here); give all' in str(
        found[0]
    )


def test_what_ends_one_ends_all_with_its_sentence():
    def work(rank, cluster):
        channel = opened(cluster)
        aborted = threading.Event()
        channel.on_failure = aborted.set
        if rank == 1:
            channel.end("The disk is full.")
        assert aborted.wait(20)  # what waits in TensorFlow is ended, too
        channel.check()

    assert [str(error) for error in in_all(3, work)] == ["The disk is full."] * 3


def test_a_process_that_is_gone_is_named():
    def work(rank, cluster):
        channel = opened(cluster)
        if rank == 1:
            # As when it is killed: the connection ends without a word.
            channel._lines[0]._connection.shutdown(socket.SHUT_RDWR)
            return ""
        channel.chief_says() if rank else channel.finish()

    found = in_all(3, work)
    assert str(found[0]) == str(found[2])
    assert str(found[0]).startswith("Lost worker 1 (127.0.0.1:")
    assert "it ended; the same command goes on from the last checkpoint" in str(found[0])


def test_what_was_said_before_parting_is_heard_however_late():
    """A process that is held looks only when the other's connection has ended already."""

    def work(rank, cluster):
        channel = opened(cluster)
        if rank == 0:
            channel.chief_says("restored")
            channel.close()
            return "parted"
        while not channel.failure:
            time.sleep(0.01)
        heard = channel.chief_says()
        with pytest.raises(UserError, match="Lost the chief"):
            channel.chief_says()
        return heard

    assert in_all(2, work) == ["parted", "restored"]


def test_a_process_that_is_silent_is_lost_after_the_time_given(monkeypatch):
    def work(rank, cluster):
        connections = handshake.meet(cluster, FACTS, 20.0)
        if rank == 1:
            time.sleep(8)  # frozen: connected, and says nothing
            return connections
        began = time.monotonic()
        try:
            Channel(cluster, connections, 3.0).finish()
        except UserError as error:
            return str(error), time.monotonic() - began

    message, seconds = in_all(2, work)[0]
    assert "nothing was heard of it for 3 seconds" in message and 2.5 < seconds


def test_one_that_is_asked_to_end_stops_all_and_the_chief_last(monkeypatch):
    monkeypatch.setattr(channel_module, "_STOP_SECONDS", 0.5)
    order = []

    def work(rank, cluster):
        channel = opened(cluster)
        if rank == 1:
            channel.stop()  # returns when the chief has parted
            order.append("worker")
            return "stopped"
        try:
            channel.finish()
        except stopping.Terminated:
            time.sleep(0.5)  # saves
            order.append("chief")
            channel.stop()
            return "stopped"

    assert in_all(2, work) == ["stopped", "stopped"]
    assert order == ["chief", "worker"]
