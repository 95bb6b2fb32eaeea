"""What a search that has ended thinks of any network of its space."""

import numpy as np

from nas_tf.base.checkpoints import RunCheckpoint
from nas_tf.base.errors import require
from nas_tf.base.run_folder import SEARCH, RunFolder
from nas_tf.search.config import SearchConfig
from nas_tf.search.part_images import held_out_accuracy
from nas_tf.search.problem import SearchProblem, check_problem
from nas_tf.search.state import SearchState
from nas_tf.space.architecture import Architecture, from_string


class SharedWeights:
    """The weights of a search's last checkpoint.

    Args:
      workdir: the search's.
      config: its settings.
    """

    def __init__(self, workdir: str, config: SearchConfig):
        self.problem = check_problem(config).holding_alpha_images()
        self._state = SearchState(self.problem)
        RunCheckpoint(RunFolder(workdir).stage(SEARCH).path, **self._state.trackables()).restore()

    def top1(self, choice: np.ndarray) -> float:
        """Accuracy of one network on the held-out images."""
        return held_out_accuracy(self.problem, self._state, choice)

    def top1_of(self, architecture: str) -> float:
        """The same of a short string."""
        return self.top1(choice_of(self.problem, from_string(architecture)))


def choice_of(problem: SearchProblem, architecture: Architecture) -> np.ndarray:
    """The candidates that an architecture of the space consists of; refuses any other."""
    choices = problem.space.choices(problem.config.resolution)
    # Before them the fixed block.
    operations = [block.operation for block in architecture.blocks[1:]]
    require(
        len(operations) == len(choices)
        and all(o in c.operations for o, c in zip(operations, choices, strict=True)),
        f"{architecture.to_string()!r} is not of the space {problem.config.space!r}.",
    )
    picked = np.array([c.operations.index(o) for o, c in zip(operations, choices, strict=True)])
    require(
        problem.architecture(picked).to_string() == architecture.to_string(),
        f"{architecture.to_string()!r} is not of the space {problem.config.space!r}.",
    )
    return picked
