"""Long jobs side by side, each in a process of its own; what has ended is not begun again."""

import concurrent.futures
import dataclasses
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from nas_tf.base.startup import quiet_tensorflow

_ONE_THREAD = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@dataclasses.dataclass(frozen=True)
class Job:
    """A call that another process can make.

    Attributes:
      name: for the eye.
      call, arguments: at the module's top level, and what can be pickled.
      ended: whether there is nothing left to do, told without loading TensorFlow.
    """

    name: str
    call: Callable[..., Any]
    arguments: tuple
    ended: Callable[[], bool]


def run_all(jobs: Sequence[Job], at_once: int) -> None:
    """Runs what has not ended, `at_once` at a time on one thread each, in this order.

    Raises:
      what a job raises, once those that run have ended; no further one is begun.
    """
    left = [job for job in jobs if not job.ended()]
    if not left:
        return
    begun = time.monotonic()
    # Not forked: TensorFlow's threads do not survive that. A new process for each job frees its graphs.
    pool = concurrent.futures.ProcessPoolExecutor(
        at_once, multiprocessing.get_context("spawn"), max_tasks_per_child=1
    )
    try:
        running = {pool.submit(_begin, job.call, job.arguments): job for job in left}
        for number, future in enumerate(concurrent.futures.as_completed(running), start=1):
            future.result()
            minutes = (time.monotonic() - begun) / 60
            rest = minutes / number * (len(left) - number)
            print(
                f"{number}/{len(left)} {running[future].name}: done after {minutes:.1f} min, "
                f"about {rest:.0f} min left",
                file=sys.stderr,
                flush=True,
            )
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(call: Callable[..., Any], arguments: tuple) -> None:
    """In the new process."""
    # Before it loads TensorFlow, which reads them once.
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    # The parent's is inherited, and would be taken for a person's wish to see the rest.
    os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
    quiet_tensorflow()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    call(*arguments)


def run_int8(folder: str, config) -> None:
    """Fine-tuning, conversion and evaluation of a trained network."""
    from export.convert_run import run_convert
    from export.evaluate_run import run_evaluate
    from quant.finetune_run import run_finetune

    run_finetune(folder, config.finetune)
    run_convert(folder, config.convert)
    run_evaluate(folder, config.evaluate)
