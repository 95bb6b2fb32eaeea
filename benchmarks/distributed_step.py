"""What sharing a step costs: two processes on a core each against one on one core, and what they exchange.

    python -m benchmarks.distributed_step
    python -m benchmarks.distributed_step --rounds=2 --steps=1 --resolution=32 --width_multiplier=0.25

Four processes are there all the time, each with one thread: two that share nothing and two that share
steps, each on the first core or the second. In turn one that shares nothing takes `--steps` weight steps of
the search while the other core has nothing to do; both of them do, at the same time; the two that share
take as many together; and these exchange as often a vector of the length that a step's has in the space at
width 1.0 with 1,000 classes. Each process has as many images. Two that share nothing are the fair control:
cores of one machine slow each other through the memory that they share, and machines of one core each would
not. The figure of a round is its median, of the slower process; figures over all rounds are medians, with
intervals that hold whatever the distribution.
Meant for a quiet machine of two cores: whatever else runs there is in it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from absl import flags

from nas_tf.base import cli
from nas_tf.base.errors import require
from nas_tf.space.search_space import SPACES

_ROUNDS = flags.DEFINE_integer("rounds", 15, "Of all kinds in turn.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 4, "Of each kind in a round.", lower_bound=1)
_IMAGES = flags.DEFINE_integer("images", 8, "Of each process in a step.", lower_bound=1)
_SPACE = flags.DEFINE_enum("space", "full", sorted(SPACES), "Search space.")
_RESOLUTION = flags.DEFINE_integer("resolution", 96, "Side of the input, in pixels.", lower_bound=16)
_WIDTH = flags.DEFINE_float("width_multiplier", 0.5, "Factor on every width, of the steps.", lower_bound=0.01)
_ROLE = flags.DEFINE_string("only", "", "Which of the processes this is (used by itself).")
_CLASSES, _VECTOR_RESOLUTION = 1000, 224
_LONE, _FIRST, _SECOND = ("lone_first", "lone_second"), "first", "second"
_CORE = {_LONE[0]: 0, _LONE[1]: 1, _FIRST: 0, _SECOND: 1}  # of those that this process may use
_STEP, _EXCHANGE = "step", "exchange"


def main() -> None:
    """Measures, or is one of the processes that are measured."""
    if _ROLE.value:
        _serve()
        return
    require(len(os.sched_getaffinity(0)) >= 2, "This needs two cores; the process may use one.")
    from nas_tf.distribute.launch import local_cluster

    cluster = local_cluster(2)
    members = dict.fromkeys(_LONE, "") | {_FIRST: cluster.to_json(0), _SECOND: cluster.to_json(1)}
    processes = {role: _start(role, config) for role, config in members.items()}
    try:
        for process in processes.values():
            _answer(process)  # built, and one step of each kind taken
        rounds = [_round(processes) for _ in range(_ROUNDS.value)]
    finally:
        for process in processes.values():
            process.kill()
    cli.print_facts("Two processes on a core each", _facts(rounds))


def _start(role: str, cluster: str) -> subprocess.Popen:
    environment = os.environ | {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1", "TF_CONFIG": cluster}
    command = [sys.executable, "-m", "benchmarks.distributed_step", *sys.argv[1:], f"--only={role}"]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _round(processes: dict[str, subprocess.Popen]) -> dict[str, float]:
    """Median milliseconds of each kind."""
    found = {"alone": _timed(processes, _STEP, _LONE[0]), "beside": _timed(processes, _STEP, *_LONE)}
    for kind in (_STEP, _EXCHANGE):
        found[kind] = _timed(processes, kind, _FIRST, _SECOND)
    return found


def _timed(processes: dict[str, subprocess.Popen], kind: str, *roles: str) -> float:
    import numpy as np

    for role in roles:
        print(kind, file=processes[role].stdin, flush=True)
    # The slower of the two counts, as it does for a run.
    return float(np.median(np.max([_answer(processes[role]) for role in roles], axis=0)))


def _answer(process: subprocess.Popen) -> list[float]:
    line = process.stdout.readline() if process.stdout else ""
    require(bool(line), "One of the processes ended; what it said stands above.")
    return json.loads(line)


def _facts(rounds: list[dict[str, float]]) -> dict[str, Any]:
    import numpy as np

    from export.benchmark_both import median_interval

    def shown(values: list[float], unit: str) -> str:
        low, high, confidence = median_interval(np.array(values))
        return f"{np.median(values):.4g}{unit} ({100 * confidence:.0f} % interval {low:.4g} to {high:.4g})"

    length = _length()
    return {
        "setting": f"{_SPACE.value} at width {_WIDTH.value:g}, {_RESOLUTION.value} pixels, "
        f"{_IMAGES.value} images of each process, {len(rounds)} rounds of {_STEPS.value} steps",
        "step of one process": shown([r["alone"] for r in rounds], " ms"),
        "of each of two that share nothing": shown([r["beside"] for r in rounds], " ms"),
        "step that two share": shown([r[_STEP] for r in rounds], " ms"),
        "over one process": shown([r[_STEP] / r["alone"] for r in rounds], ""),
        "over two that share nothing": shown([r[_STEP] / r["beside"] for r in rounds], ""),
        "vector of a step": f"{4 * length / 1e6:.4g} MB: {_SPACE.value} at width 1.0, {_CLASSES} "
        "classes; as much goes out of each of two processes and comes in",
        "exchange of it": shown([r[_EXCHANGE] for r in rounds], " ms"),
    }


def _length() -> int:
    from benchmarks.step_vector import mean_length

    return round(mean_length(SPACES[_SPACE.value], _VECTOR_RESOLUTION, _CLASSES))


def _serve() -> None:
    """Takes steps when it is told to, and answers with their milliseconds."""
    role = _ROLE.value
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[_CORE[role]]})
    from nas_tf.distribute import start
    from nas_tf.distribute.config import DistributeConfig

    distribution = "off" if role in _LONE else "multi_worker"
    # Nobody is lost while it builds its network on a core that others use, too.
    with start.workers(DistributeConfig(distribution, lost_seconds=600.0)) as workers:
        kinds = _kinds(workers)
        print(json.dumps([_ms(call) for call in kinds.values()]), flush=True)
        for line in sys.stdin:
            print(json.dumps([_ms(kinds[line.strip()]) for _ in range(_STEPS.value)]), flush=True)


def _ms(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began)


def _kinds(workers: Any) -> dict[str, Callable[[], object]]:
    """What can be asked for, by name."""
    import numpy as np
    import tensorflow as tf

    from nas_tf.data.preprocess import to_network_input
    from nas_tf.distribute.shards import Shards
    from nas_tf.latency.candidate_costs import offered_candidates
    from nas_tf.search import gates
    from nas_tf.search.weight_optimizer import WeightOptimizer
    from nas_tf.space.search_space import find_space
    from nas_tf.supernet.steps import make_steps, weight_step
    from nas_tf.supernet.supernet import Supernet

    space = find_space(_SPACE.value).scaled(_WIDTH.value)
    p = gates.probabilities(np.where(offered_candidates(space), 0.0, -np.inf))
    # The same networks in all processes.
    rng, net = np.random.default_rng(0), Supernet(space, _RESOLUTION.value, _CLASSES)
    optimizer, steps, shards = WeightOptimizer(net), make_steps(net), Shards(workers.count, workers)
    shape = (_IMAGES.value, _RESOLUTION.value, _RESOLUTION.value, 3)
    images = to_network_input(tf.constant(rng.integers(0, 256, shape), tf.uint8))
    labels = tf.constant(rng.integers(0, _CLASSES, _IMAGES.value), tf.int64)
    vector = tf.zeros([_length()])

    def step() -> list[float]:
        found = weight_step(steps, optimizer, images, labels, gates.sample(rng, p), 1e-3, shards=shards)
        return [float(value) for value in found]  # waits for it

    def exchange() -> float:
        return float(shards.sum(lambda *_: vector, images, labels)[0])

    # Alone there is nothing to exchange.
    return {_STEP: step, **({_EXCHANGE: exchange} if workers.count > 1 else {})}


if __name__ == "__main__":
    cli.run(main)
