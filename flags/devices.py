"""Flags of how many processes share a run's work."""

import contextlib

from absl import flags

from nas_tf.distribute.config import DISTRIBUTIONS, DistributeConfig
from nas_tf.distribute.workers import Workers

DISTRIBUTION = flags.DEFINE_enum(
    "distribution",
    DistributeConfig.distribution,
    DISTRIBUTIONS,
    "off: one process. multi_worker: several, one for each device, which --num_devices starts on this "
    "machine or TF_CONFIG names; in stages that learn, their number divides --shards. tpu is refused.",
)
NUM_DEVICES = flags.DEFINE_string(
    "num_devices",
    DistributeConfig.num_devices,
    "With --distribution=multi_worker: processes to start on this machine, a number or auto (one for each "
    "GPU).",
)
WORKER_WAIT_SECONDS = flags.DEFINE_float(
    "worker_wait_seconds",
    DistributeConfig.wait_seconds,
    "How long processes wait for each other at the start.",
)
WORKER_LOST_SECONDS = flags.DEFINE_float(
    "worker_lost_seconds",
    DistributeConfig.lost_seconds,
    "A process that the others do not hear of for so long is lost, and ends the run in all of them.",
)


def workers() -> contextlib.AbstractContextManager[Workers]:
    """The processes of the run."""
    # Here, since only commands that run need it.
    from nas_tf.distribute import start

    return start.workers(
        DistributeConfig(
            distribution=DISTRIBUTION.value,
            num_devices=NUM_DEVICES.value,
            wait_seconds=WORKER_WAIT_SECONDS.value,
            lost_seconds=WORKER_LOST_SECONDS.value,
        )
    )
