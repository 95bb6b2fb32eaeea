"""What candidates have in common, as numbers: for models of what a candidate is worth."""

from collections.abc import Sequence

import numpy as np

from nas_tf.space.operations.operation import Operation
from nas_tf.space.search_space import Choice


def candidate_features(choices: Sequence[Choice]) -> np.ndarray:
    """Features of each candidate, each 0 or 1.

    Each property of an operation (its kind, its expansion, each of its kernels) is a feature of the network
    and one of the block that has it; and each candidate of a block is a feature of its own. So what two
    networks share in one block tells something of another block too, as much as there is to it.

    Returns:
      float64 [blocks, candidates, features], 0 where a block has fewer candidates.
    """
    named = [[_names(block, operation) for operation in c.operations] for block, c in enumerate(choices)]
    names = sorted({name for row in named for candidate in row for name in candidate}, key=repr)
    place = {name: index for index, name in enumerate(names)}
    features = np.zeros((len(named), max(map(len, named)), len(names)))
    for block, row in enumerate(named):
        for candidate, found in enumerate(row):
            features[block, candidate, [place[name] for name in found]] = 1.0
    return features


def _names(block: int, operation: Operation) -> list[tuple]:
    shared = operation.properties
    return [(block, operation.name), *((block, *each) for each in shared), *shared]
