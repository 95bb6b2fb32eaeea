"""Problems small enough to check by hand or by enumeration."""

import dataclasses
import itertools

import numpy as np

from nas_tf.latency.candidate_costs import offered_candidates
from nas_tf.latency.entries import Entry, Identity
from nas_tf.latency.table import LatencyTable, load_table, save_table
from nas_tf.search.config import Budget
from nas_tf.search.problem import make_resources
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck
from nas_tf.space.operations.zero import ZERO
from nas_tf.space.search_space import FULL, SPACES, TINY, Stage

# Two blocks: (8 → 16) without ZeroOp, (16 → 16) with it; 2 · 3 architectures.
MICRO = dataclasses.replace(
    TINY,
    name="micro",
    stages=(Stage(16, 2, 1),),
    candidates=(InvertedBottleneck(3, 3), InvertedBottleneck(6, 5), ZERO),
)
PHONE_TABLE = "proxylessnas/mobile_trim.yaml"


def phone_latency(shared_data, target_ms: float = 80.0):
    """(latency of the full space by the published table, offered candidates)."""
    table = load_table(shared_data / PHONE_TABLE)
    return make_resources(FULL, 224, 1000, table, Budget(target_ms))[0], offered_candidates(FULL)


def write_table(path, space: str = "micro", resolution: int = 32, num_classes: int = 10) -> str:
    """A table whose entries are 0.3 ms per million multiply-adds plus 0.01 ms."""
    specs = {**SPACES, "micro": MICRO}[space].latency_specs(resolution, num_classes)
    identity = Identity("made up", "host", "none", "builtin", 1, "int8", space, resolution, 1.0, num_classes)
    entries = {key: Entry(0.3 * spec.macs / 1e6 + 0.01) for key, spec in specs.items()}
    save_table(path, LatencyTable(identity, entries, 0.02))
    return str(path)


def all_choices(offered: np.ndarray):
    """Every architecture, as choices."""
    return map(np.array, itertools.product(*(row.nonzero()[0] for row in offered)))
