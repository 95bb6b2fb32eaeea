"""From flags to connected processes, before TensorFlow computes anything."""

import contextlib
import hashlib
import os
import pathlib
import platform
import time
from collections.abc import Iterator
from typing import Any

from nas_tf.base import stopping
from nas_tf.base.errors import UserError, require
from nas_tf.distribute import launch, watchdog
from nas_tf.distribute.channel import Channel
from nas_tf.distribute.cluster import VARIABLE, Cluster, read_cluster
from nas_tf.distribute.config import DISTRIBUTIONS, DistributeConfig
from nas_tf.distribute.handshake import meet
from nas_tf.distribute.workers import ALONE, Connected, Workers

# TensorFlow's own heartbeat ends the whole process without a word, so it waits longer than ours.
_TENSORFLOW_HEARTBEAT_MS = 24 * 3600 * 1000
# A process that ends after all have met and before TensorFlow has connected them: the others wait inside of
# TensorFlow, by its own default for an hour, and nothing of Python runs there, neither our heartbeat nor what
# SIGTERM asks for. A lost chief is told from others by TensorFlow itself, after this part of the time.
_CHIEF_SHARE = 0.5
_NOTICE_SECONDS = 3.0
_CODE = ("nas_tf", "quant", "export", "flags")


@contextlib.contextmanager
def workers(config: DistributeConfig) -> Iterator[Workers]:
    """The processes of this run inside: this one alone, or connected with the others.

    Raises:
      UserError: they cannot find each other, differ, or one of them is lost or fails.
    """
    _check(config)
    if config.distribution == "off":
        yield ALONE
        return
    cluster, ours = _cluster(config)
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "2":
        # TensorFlow would say in lines of its own, too, that another process ended.
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with launch.others(cluster) if ours else contextlib.nullcontext():
        facts = {"version of this program": _code(), "version of TensorFlow": _tensorflow_version()}
        # Before they meet, so that from then on none is late by what a slow disk takes.
        import tensorflow  # noqa: F401

        channel = Channel(cluster, meet(cluster, facts, config.wait_seconds), config.lost_seconds)
        with _parting(cluster, channel):
            yield Connected(cluster, channel, _strategy(cluster, channel, config.wait_seconds))


def _check(config: DistributeConfig) -> None:
    known, given = config.distribution in DISTRIBUTIONS, config.distribution
    require(known, f"--distribution={given!r}; allowed: off, multi_worker.")
    require(
        given != "tpu",
        "--distribution=tpu is not supported: a TPU needs `TPUStrategy`, steps that XLA compiles whole with "
        "all shapes fixed (in the search: one graph for each candidate), and images in Google Cloud Storage; "
        "use off or multi_worker on GPUs or processors.",
    )
    require(
        given == "multi_worker" or not config.num_devices,
        f"--num_devices={config.num_devices} needs --distribution=multi_worker.",
    )
    for name in ("wait_seconds", "lost_seconds"):
        value = getattr(config, name)
        require(value >= 2, f"--worker_{name} must be at least 2, not {value:g}.")


def _cluster(config: DistributeConfig) -> tuple[Cluster, bool]:
    """The cluster, and whether its other processes are to be started here."""
    started = launch.STARTED in os.environ
    if not config.num_devices or started:
        return read_cluster(), False
    require(
        not os.environ.get(VARIABLE),
        f"--num_devices={config.num_devices} starts the processes on this machine, but {VARIABLE} is set and "
        "names processes, too; use one of both.",
    )
    cluster = launch.local_cluster(launch.number_of_devices(config.num_devices))
    # TensorFlow reads it.
    os.environ[VARIABLE] = cluster.to_json(0)
    return cluster, True


@contextlib.contextmanager
def _parting(cluster: Cluster, channel: Channel) -> Iterator[None]:
    """Tells the others how it ended here."""
    try:
        yield
        channel.finish()
    except stopping.Terminated:
        if channel.failure:  # which has interrupted what this process did alone
            raise UserError(channel.failure) from None
        channel.stop()
        raise
    except UserError as error:
        channel.end(str(error))
        raise
    except BaseException as error:
        reason = " ".join(str(error).split())[:200]
        name = cluster.name(cluster.rank)
        channel.end(f"{name[0].upper()}{name[1:]} ended by {type(error).__name__}: {reason}".rstrip(": "))
        raise
    finally:
        channel.close()


def _strategy(cluster: Cluster, channel: Channel, seconds: float) -> Any:
    import tensorflow as tf
    from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
    from tensorflow.python.eager import context

    require(
        not tf.config.list_physical_devices("TPU"),
        "This machine has TPUs, which are not supported (--distribution=tpu says why); use GPUs or "
        "processors.",
    )
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        # One device for each process.
        tf.config.set_visible_devices(gpus[cluster.place_on_host % len(gpus)], "GPU")
    job = coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=cluster.count)
    # Of TensorFlow's modules the one that has this; `MultiWorkerMirroredStrategy` leaves alone what is set.
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/task:0",
        cluster_register_timeout_in_ms=int(1000 * _CHIEF_SHARE * seconds),
        heartbeat_timeout_in_ms=_TENSORFLOW_HEARTBEAT_MS,
        coordinated_jobs=[job],
    )
    # In the one form that the cluster is known by here: all of them workers, the chief the first.
    os.environ[VARIABLE] = cluster.to_json(cluster.rank)
    lost = (
        f"The {cluster.count} processes met, but TensorFlow did not connect them within {seconds:g} seconds: "
        f"one of them ended meanwhile, or cannot be reached at its address in {VARIABLE}; the same command "
        "goes on from the last checkpoint."
    )
    try:
        with watchdog.at_most(seconds, lost):
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise UserError(_heard_meanwhile(channel) or lost) from error
    # Its coordination service puts a handler of its own in the place of ours, which would do nothing here.
    stopping.listen_again()
    unavailable = tf.errors.UNAVAILABLE
    channel.on_failure = lambda: context.context().abort_collective_ops(unavailable, "another process ended")
    channel.check()
    return strategy


def _heard_meanwhile(channel: Channel) -> str:
    """Who was lost; the thread that notices it could not run inside of TensorFlow's call."""
    end = time.monotonic() + _NOTICE_SECONDS
    while not channel.failure and time.monotonic() < end:
        time.sleep(0.1)
    return channel.failure


def _code() -> str:
    """A digest of this program's own files."""
    root, found = pathlib.Path(__file__).resolve().parents[2], hashlib.sha256()
    for package in _CODE:
        for path in sorted((root / package).rglob("*.py")):
            found.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:12]


def _tensorflow_version() -> str:
    from importlib.metadata import version

    return f"{version('tensorflow')} on Python {platform.python_version()}"
