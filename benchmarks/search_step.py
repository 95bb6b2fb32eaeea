"""What a search costs beside training: time and memory of supernet steps against compact ones.

    python benchmarks/search_step.py --rounds=30

One process per memory figure; all times in one process, interleaved, medians. Ratios pair the
supernet with the compact network of the same sampled architecture.
"""

import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import time

# Before anything imports TensorFlow, which reads both variables when it starts.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As the commands do.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from absl import app, flags

from nas_tf.search.config import SearchConfig
from nas_tf.space.search_space import SPACES

_SPACE = flags.DEFINE_enum("space", "full", sorted(SPACES), "Search space.")
_ROUNDS = flags.DEFINE_integer("rounds", 20, "Timed rounds of every kind of step.")
_NETWORKS = flags.DEFINE_integer("networks", 2, "Sampled architectures that are timed.")
_RESOLUTION = flags.DEFINE_integer("resolution", 112, "Side of the input, in pixels.")
_WIDTH = flags.DEFINE_float("width_multiplier", 0.5, "Factor on every width.")
_BATCH = flags.DEFINE_integer("batch_size", 16, "Images a step.")
_GATE_PATHS = flags.DEFINE_integer(
    "max_gate_paths", SearchConfig.max_gate_paths, "Gates of each block in a full step at most; 0: all."
)
_MEMORY_STEPS = flags.DEFINE_integer("memory_steps", 30, "Steps before memory is read.")
_ONLY = flags.DEFINE_string("only", "", "Run one part and print it as JSON (used by itself).")
_CLASSES = 1000


class _Bench:
    """Supernet, images and sampling of the benchmark's setting."""

    def __init__(self):
        import numpy as np
        import tensorflow as tf

        from nas_tf.latency.candidate_costs import offered_candidates
        from nas_tf.search import gates
        from nas_tf.space.search_space import find_space

        self.space = find_space(_SPACE.value).scaled(_WIDTH.value)
        self.offered = offered_candidates(self.space)
        self.p = gates.probabilities(np.where(self.offered, 0.0, -np.inf))
        self.rng = np.random.default_rng(0)
        shape = (_BATCH.value, _RESOLUTION.value, _RESOLUTION.value, 3)
        self.images = tf.constant(self.rng.integers(0, 256, shape), tf.uint8)
        self.labels = tf.constant(self.rng.integers(0, _CLASSES, _BATCH.value), tf.int64)

    def sample(self):
        """A random architecture's candidates."""
        from nas_tf.search import gates

        return gates.sample(self.rng, self.p)

    def supernet(self):
        """(weight step, two step, full step) as functions of the active candidates."""
        from nas_tf.data.preprocess import to_network_input
        from nas_tf.search import gates
        from nas_tf.search.weight_optimizer import WeightOptimizer
        from nas_tf.supernet.steps import gate_gradients, make_steps, weight_step
        from nas_tf.supernet.supernet import Supernet

        net = Supernet(self.space, _RESOLUTION.value, _CLASSES)
        optimizer, steps = WeightOptimizer(net), make_steps(net)

        def weight(active):
            found = weight_step(steps, optimizer, to_network_input(self.images), self.labels, active, 0.01)
            return [float(value) for value in found]  # waits for it

        def two(active):
            involved, _ = gates.sample_involved(self.rng, self.p, self.offered, 2)
            # Exactly two paths of each block, the active one among them.
            involved[range(len(active)), active] = True
            for row, k in zip(involved, active, strict=True):
                others = [i for i in row.nonzero()[0] if i != k]
                row[others[1:]] = False
            return gate_gradients(steps, to_network_input(self.images), self.labels, involved, active)

        def full(active):
            involved = self.offered
            if _GATE_PATHS.value and self.offered.sum(axis=1).max() > _GATE_PATHS.value:
                involved, active = gates.sample_involved(self.rng, self.p, self.offered, _GATE_PATHS.value)
            return gate_gradients(steps, to_network_input(self.images), self.labels, involved, active)

        return weight, two, full

    def compact(self, active):
        """A training step of the compact network with these candidates."""
        from nas_tf.network.build import build_network
        from nas_tf.train.config import WeightStep
        from nas_tf.train.weight_trainer import WeightTrainer

        choices = self.space.choices(_RESOLUTION.value)
        operations = tuple(c.specs[k].operation for c, k in zip(choices, active, strict=True))
        model = build_network(self.space.architecture(operations), _RESOLUTION.value, _CLASSES)
        # No dropout, since the supernet has none either.
        trainer = WeightTrainer(model, WeightStep(dropout=0.0), 0)

        def step():
            trainer.step(self.images, self.labels, 0, 0.01)
            return trainer.figures()  # waits for the step

        return step


def _peak_mib() -> float:
    # Linux counts it in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _idle() -> dict:
    """A process that has TensorFlow loaded and has computed something."""
    import tensorflow as tf

    # What TensorFlow takes before any network is there is subtracted from all other figures.
    tf.function(lambda x: x @ x)(tf.ones([8, 8]))
    return {"peak_mib": _peak_mib()}


def _memory_compact() -> dict:
    bench = _Bench()
    step = bench.compact(bench.sample())
    for _ in range(_MEMORY_STEPS.value):
        step()
    return {"peak_mib": _peak_mib()}


def _memory_supernet(kind: str) -> dict:
    """Weight steps with one architecture step of the kind after every fifth."""
    import tensorflow as tf

    bench = _Bench()
    tf.constant(0)  # so that the time below is the supernet's and not TensorFlow's start
    began = time.perf_counter()
    weight, two, full = bench.supernet()
    built = time.perf_counter()
    weight(bench.sample())
    first = time.perf_counter()
    extra = {"two": two, "full": full}.get(kind)
    for index in range(_MEMORY_STEPS.value):
        weight(bench.sample())
        # As often as in the authors' search on ImageNet.
        if extra and index % 5 == 4:
            extra(bench.sample())
    return {"peak_mib": _peak_mib(), "build_s": built - began, "first_step_s": first - began}


def _times() -> dict:
    """Medians in seconds of interleaved steps, and medians of their paired ratios.

    Ratios ending in `_cpu` are of processor time: other processes disturb them less.
    """
    bench = _Bench()
    weight, two, full = bench.supernet()
    networks = [bench.sample() for _ in range(_NETWORKS.value)]
    compact = [bench.compact(active) for active in networks]
    names = ("compact", "weight", "two", "full")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    busy: dict[str, list[float]] = {name: [] for name in names}
    # In turn, so that a slow minute of the machine touches all kinds of steps alike.
    for round_number in range(-2, _ROUNDS.value):
        for index, active in enumerate(networks):
            steps = {
                "compact": compact[index],
                "weight": functools.partial(weight, active),
                "two": functools.partial(two, active),
                "full": functools.partial(full, active),
            }
            for name, step in steps.items():
                began, used = time.perf_counter(), time.process_time()
                step()
                if round_number >= 0:  # the first two rounds trace
                    seconds[name].append(time.perf_counter() - began)
                    busy[name].append(time.process_time() - used)
    medians = {f"{name}_s": statistics.median(values) for name, values in seconds.items()}
    for name, base in (("weight", "compact"), ("two", "weight"), ("full", "weight")):
        for suffix, values in (("", seconds), ("_cpu", busy)):
            ratios = (a / b for a, b in zip(values[name], values[base], strict=True))
            medians[f"{name}_over_{base}{suffix}"] = statistics.median(ratios)
    return medians


_PARTS = {
    "idle": _idle,
    "compact": _memory_compact,
    "times": _times,
    **{kind: lambda kind=kind: _memory_supernet(kind) for kind in ("weight", "two", "full")},
}


def _in_process(part: str) -> dict:
    command = [sys.executable, __file__, *sys.argv[1:], f"--only={part}"]
    # A process for each part: the peak of one never falls again.
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    # The last line, for libraries may print before it.
    return json.loads(done.stdout.splitlines()[-1])


def main(_) -> None:
    """Prints all figures and ratios."""
    if _ONLY.value:
        print(json.dumps(_PARTS[_ONLY.value]()))
        return
    times = _in_process("times")
    for name, value in times.items():
        print(f"{name:<24}{value:8.3f}", flush=True)
    idle = _in_process("idle")["peak_mib"]
    print(f"{'idle TensorFlow':<24}{idle:8.0f} MiB", flush=True)
    compact = _in_process("compact")["peak_mib"]
    print(f"{'compact training':<24}{compact:8.0f} MiB, {compact - idle:.0f} above idle", flush=True)
    for kind in ("weight", "two", "full"):
        facts = _in_process(kind)
        above = facts["peak_mib"] - idle
        print(
            f"{'supernet ' + kind:<24}{facts['peak_mib']:8.0f} MiB, {above:.0f} above idle, "
            f"{above / (compact - idle):.2f} x compact; built in {facts['build_s']:.1f} s, "
            f"first weight step done at {facts['first_step_s']:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
