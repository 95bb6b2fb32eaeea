"""What the processes of a run give each other after a step, counted. Defines no flags."""

from collections.abc import Iterator

import numpy as np

from nas_tf.space.architecture import Architecture
from nas_tf.space.search_space import SearchSpace

BYTES = 4  # float32


def random_networks(space: SearchSpace, resolution: int, count: int) -> Iterator[Architecture]:
    """Networks of a space whose candidates are drawn evenly, the same in every run."""
    rng, choices = np.random.default_rng(0), space.choices(resolution)
    for _ in range(count):
        yield space.architecture(
            tuple(c.operations[rng.integers(len(c.operations))] for c in choices), "random"
        )


def vector_length(network: Architecture, resolution: int, num_classes: int) -> int:
    """Numbers in the vector of a network's step.

    Loss, correct predictions and whether to end; gradients of all parameters; mean and variance of each
    channel that is normalized.
    """
    channels = sum(
        c.output_width for layer in network.layers(resolution, num_classes) for c in layer.convolutions
    )
    return 3 + network.params(num_classes) + 2 * channels


def mean_length(space: SearchSpace, resolution: int, num_classes: int, networks: int = 500) -> float:
    """Of random networks."""
    found = [vector_length(n, resolution, num_classes) for n in random_networks(space, resolution, networks)]
    return float(np.mean(found))
