"""Steps of every kind, done by one process and by several that share them; prints digests of what moved.

Processes are threads here, which meet at each sum as real ones do. Run in a process of its own, where
TensorFlow has one thread for each operation: bit equality holds for equal numbers of threads.

    python -m tests.distribute.equal_steps steps [kind …]
"""

import hashlib
import json
import sys
import tempfile
import threading

import numpy as np
import tensorflow as tf
import tf_keras as keras

from nas_tf.data.config import NO_AUGMENTATION, DataConfig
from nas_tf.distribute.shards import Shards
from nas_tf.network.build import build_network
from nas_tf.search.config import Budget, SearchConfig, SearchSchedule
from nas_tf.search.problem import check_problem
from nas_tf.search.state import SearchState
from nas_tf.space.architecture import from_string
from nas_tf.space.search_space import SPACES
from nas_tf.train.config import WeightStep
from nas_tf.train.weight_trainer import WeightTrainer
from quant import scheme
from quant.distillation import FineTuner, LossShares
from quant.rewrite import rewrite
from tests.search.helpers import MICRO, write_table

SHARDS, IMAGES, SIZE = 4, 16, 16
NETWORK = from_string("s8x2 1_3c8 3_3c8x2 h16")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (IMAGES, SIZE, SIZE, 3), np.uint8)
LABELS = RNG.integers(0, 10, IMAGES)


class Together:
    """Threads that stand for processes."""

    def __init__(self, count: int):
        self.count, self._rows = count, [None] * count
        self._all_there = threading.Barrier(count, timeout=300)

    def run(self, rank: int, work, errors: list) -> None:
        try:
            work(rank)
        except BaseException as error:
            errors.append(error)
            self._all_there.abort()

    def gather(self, rank: int, rows):
        self._rows[rank] = rows
        self._all_there.wait()
        found = tf.concat(self._rows, 0)
        self._all_there.wait()
        return found


class Member:
    """One of them."""

    def __init__(self, together: Together, rank: int):
        self.count, self.rank, self._together = together.count, rank, together

    def gather(self, rows):
        return self._together.gather(self.rank, rows)


def own(shards: Shards):
    rows = shards.rows(IMAGES)
    part = slice(None) if rows is None else slice(rows.first, rows.first + rows.size)
    return tf.constant(PIXELS[part]), tf.constant(LABELS[part], tf.int64)


def train(member: Member, count: int, steps: int):
    keras.utils.set_random_seed(1)
    shards = Shards(count, member)
    subject = WeightTrainer(build_network(NETWORK, SIZE, 10), WeightStep(ema_decay=0.9), 0, shards)

    def work():
        for step in range(steps):
            subject.step(*own(shards), step, 0.1)

    def found():
        # Neither a new step nor a new rate may be traced anew.
        assert {f.experimental_get_tracing_count() for f in (subject._part, subject._move)} <= {0, 1}
        return [*subject.model.variables, *subject._average.averages, subject._sums]

    return work, found


def search_state(member: Member, count: int, table: str, **settings) -> SearchState:
    config = SearchConfig(
        DataConfig("digits", train_split="train[:214]"),
        table,
        Budget(0.2),
        NO_AUGMENTATION,
        space="micro",
        resolution=SIZE,
        schedule=SearchSchedule(batch_size=IMAGES, held_out=0.1),
        shards=count,
        **settings,
    )
    return SearchState(check_problem(config), member)


def search(member: Member, count: int, steps: int, table: str, alpha: bool, **settings):
    state = search_state(member, count, table, **settings)

    def work():
        for step in range(steps):
            state.weight_step(step, *own(state.shards), 0.05)
            if alpha:
                state.alpha_step(step, *own(state.shards))

    def found():
        state.pack()
        return [v for t in state.trackables().values() for v in _variables(t)]

    return work, found


def _variables(trackable) -> list[tf.Variable]:
    root = tf.train.Checkpoint(t=trackable)  # which a view does not keep
    tracked = tf.train.TrackableView(root).descendants()
    return [item for item in tracked if isinstance(item, tf.Variable) and item.name != "save_counter:0"]


def finetune(member: Member, count: int, steps: int, moving: bool):
    keras.utils.set_random_seed(1)
    teacher, _ = rewrite(build_network(NETWORK, SIZE, 10), snap_borders=False)
    folded, _ = rewrite(build_network(NETWORK, SIZE, 10))
    quantized, _, _ = scheme.quantize(folded)
    shards = Shards(count, member)
    tuner = FineTuner(teacher, quantized, LossShares(0.5, 1.0), None, shards)

    def work():
        for _ in range(steps):
            tuner.step(*own(shards), 0.1, moving)

    return work, lambda: [*quantized.weights, *tuner.optimizer.variables]


def kinds(table: str) -> dict:
    """Name → what makes (work, variables) of (member, shards, steps)."""

    def searched(**settings):
        return lambda *given: search(*given, table, **settings)

    return {
        "train": train,
        "warmup": searched(alpha=False),
        "two": searched(alpha=True, gate_mode="two"),
        "full": searched(alpha=True, gate_mode="full"),
        "reinforce": searched(alpha=True, algorithm="reinforce"),
        "finetune": lambda *given: finetune(*given, moving=False),
        "finetune, ranges move": lambda *given: finetune(*given, moving=True),
    }


def digests(make, workers: int, shards: int, steps: int) -> list[str]:
    """Of what each of the processes has in the end."""
    together, errors = Together(workers), []
    made = [make(Member(together, rank), shards, steps) for rank in range(workers)]
    threads = [
        threading.Thread(target=together.run, args=(rank, lambda r: made[r][0](), errors))
        for rank in range(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [hashlib.sha256(b"".join(v.numpy().tobytes() for v in found())).hexdigest() for _, found in made]


def main() -> None:
    steps, *names = sys.argv[1:]
    SPACES[MICRO.name] = MICRO
    with tempfile.TemporaryDirectory() as folder:
        known = kinds(write_table(f"{folder}/table.json", resolution=SIZE))
        found = {}
        for name in names or known:
            of = {f"{w} of {SHARDS}": digests(known[name], w, SHARDS, int(steps)) for w in (1, 2, 4)}
            found[name] = of | {"1 of 1": digests(known[name], 1, 1, int(steps))}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
