"""How many processes work on a run, as plain data. Imports no TensorFlow."""

import dataclasses

DISTRIBUTIONS = ("off", "multi_worker", "tpu")


@dataclasses.dataclass(frozen=True)
class DistributeConfig:
    """How a command's processes find each other; decides nothing of a run's outcome.

    Attributes:
      distribution: of `DISTRIBUTIONS`; "tpu" is there to be refused with a reason.
      num_devices: processes that the command starts on this machine: a number, "auto" for one for
        each GPU, or "" where the environment (`TF_CONFIG`) names the processes.
      wait_seconds: for all processes to be there.
      lost_seconds: a process that is not heard of for so long is lost.
    """

    distribution: str = "off"
    num_devices: str = ""
    wait_seconds: float = 300.0
    lost_seconds: float = 30.0
