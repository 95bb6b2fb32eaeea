"""What a step costs with many processes: computed, not measured.

    python -m benchmarks.scaling_on_paper --step_ms=300 --gigabits=10

A step's vector is counted for random networks of the full space (its mean): loss, correct predictions, the
gradients of the sampled network and its batch norm's new statistics, four bytes each. Each process takes in
W − 1 such vectors, as `nas_tf.distribute` gathers them; a ring would take in 2 (W − 1) / W. Nothing overlaps,
and each of the log2 W (gather) or 2 (W − 1) (ring) messages takes `--message_us` beside its bytes.
"""

import math

import numpy as np
from absl import flags

from benchmarks.step_vector import BYTES, random_networks, vector_length
from nas_tf.base import cli
from nas_tf.space.search_space import FULL

_STEP = flags.DEFINE_float("step_ms", 300.0, "A weight step of one process on its images.", lower_bound=0.001)
_GIGABITS = flags.DEFINE_float("gigabits", 10.0, "Of each process's link, a second.", lower_bound=0.001)
_MESSAGE = flags.DEFINE_float("message_us", 50.0, "Until a message begins to arrive.", lower_bound=0.0)
_WORKERS = flags.DEFINE_multi_integer("workers", [2, 8, 64], "Numbers of processes.", lower_bound=2)
_RESOLUTION, _CLASSES, _NETWORKS = 224, 1000, 500


def main() -> None:
    """Prints the table."""
    networks = random_networks(FULL, _RESOLUTION, _NETWORKS)
    megabytes = [BYTES * vector_length(network, _RESOLUTION, _CLASSES) / 1e6 for network in networks]
    mean = float(np.mean(megabytes))
    facts = {
        "vector of a step": f"{mean:.1f} MB on average, {min(megabytes):.1f} to {max(megabytes):.1f}",
        "step of one process, assumed": f"{_STEP.value:g} ms",
    }
    for workers in _WORKERS.value:
        for way, (vectors, messages) in _WAYS.items():
            ms = vectors(workers) * mean * 8 / _GIGABITS.value + messages(workers) * _MESSAGE.value / 1e3
            facts[f"{workers} processes, {way}"] = (
                f"{vectors(workers) * mean:.0f} MB and {ms:.0f} ms more, so "
                f"{workers * _STEP.value / (_STEP.value + ms):.1f} times as many images a second as one"
            )
    cli.print_facts(f"On paper, links of {_GIGABITS.value:g} Gbit/s", facts)


# Way → (vectors that each process takes in, messages one after the other), for W processes.
_WAYS = {
    "gathered": (lambda w: w - 1, lambda w: math.ceil(math.log2(w))),
    "ring": (lambda w: 2 * (w - 1) / w, lambda w: 2 * (w - 1)),
}


if __name__ == "__main__":
    cli.run(main)
