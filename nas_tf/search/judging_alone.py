"""Networks judged by training each of them alone, from fresh weights."""

import dataclasses
import gc
import pathlib
import time
from collections.abc import Callable, Sequence

import numpy as np
import tf_keras as keras

from nas_tf.base import files
from nas_tf.base.errors import UserError
from nas_tf.base.progress import Progress
from nas_tf.distribute.shards import Shards
from nas_tf.distribute.workers import Workers, output
from nas_tf.network.build import build_network
from nas_tf.search.config import SearchConfig
from nas_tf.search.part_images import training_images
from nas_tf.search.problem import SearchProblem
from nas_tf.space.architecture import Architecture
from nas_tf.train import precision
from nas_tf.train.config import WeightStep
from nas_tf.train.schedules import cosine
from nas_tf.train.weight_trainer import WeightTrainer

# Of the steps; what comes before says how fast a network leaves random weights.
_COUNTED = 0.25
_TOP1, _SECONDS = "top1", "seconds"  # of a network, in the record
_RISING = 10  # one in so many steps, with the rate going up to where it is held


@dataclasses.dataclass(frozen=True)
class Trial:
    """How networks are trained to be compared.

    Attributes:
      label: of the progress.
      epochs: of the images for the weights.
      lowered: whether the rate is lowered to 0 (a whole training) or held (the first part of one).
    """

    label: str
    epochs: float
    lowered: bool

    def rate(self, step: int, steps: int, highest: float) -> float:
        """The learning rate at a 0-based step."""
        if self.lowered:
            return cosine(step, steps, highest, steps // _RISING)
        return highest * min(1.0, (step + 1) / max(1, steps // _RISING))


def first_part(config: SearchConfig) -> Trial:
    """By which many networks are judged."""
    return Trial("search: judge", config.judge_epochs, lowered=False)


def whole_training(config: SearchConfig) -> Trial:
    """By which the best of them are judged again."""
    return Trial("search: finalists", config.finalist_epochs, lowered=True)


def judged_alone(
    problem: SearchProblem,
    choices: Sequence[np.ndarray],
    trial: Trial,
    shards: Shards,
    workers: Workers,
    record: pathlib.Path,
) -> list[float]:
    """How well each network learns alone, from fresh weights, all from the same batches in the same order.

    The figure is the share of images that the network got right just before it was trained on them, over
    the last quarter of the steps. In a first epoch no such image is known to it, and there are far more of
    them than are held out (progressive validation: Blum, Kalai and Langford, COLT 1999). In the few epochs
    after it, networks learn little by heart (docs/search.md, "Does the search earn its keep?").

    Args:
      choices: candidates of each network, int64 [blocks].
      record: a file of what has been judged, with which a killed run goes on.

    Returns:
      A share for each of the choices.
    """
    networks = {architecture.to_string(): architecture for architecture in map(problem.architecture, choices)}
    # One process's look for all: another one may look after the first network was noted.
    known = workers.chief_says(_known(record) if workers.rank == 0 else None)
    left, steps = [text for text in networks if text not in known], _steps(problem, trial)
    with Progress(trial.label, steps * len(left), 0, output(workers)) as progress:
        for index, text in enumerate(left):

            def shown(step: int, before: int = index * steps) -> None:
                progress.update(before + step)

            began = time.monotonic()
            top1 = _train_alone(problem, networks[text], trial, shards, shown)
            # Keras' models are cycles of references; Python by itself lets several of them pile up.
            gc.collect()
            known[text] = {_TOP1: top1, _SECONDS: time.monotonic() - began}
            if workers.rank == 0:
                files.write_json(record, known)
            best = max(known[other][_TOP1] for other in networks if other in known)
            progress.note(f"network {index + 1}/{len(left)}", top1=top1, best=best)
    return [known[text][_TOP1] for text in networks]


def seconds_of(record: pathlib.Path) -> float:
    """What the networks of a record took, for the working time of a run that goes on with it."""
    return sum(network[_SECONDS] for network in _known(record).values())


def _known(record: pathlib.Path) -> dict[str, dict[str, float]]:
    return files.read_json(record, "record of judged networks") if record.exists() else {}


def _steps(problem: SearchProblem, trial: Trial) -> int:
    return max(1, round(trial.epochs * problem.steps_per_epoch))


def _train_alone(
    problem: SearchProblem,
    network: Architecture,
    trial: Trial,
    shards: Shards,
    shown: Callable[[int], None],
) -> float:
    """Share of images that were right before they were trained on, over the last quarter of the steps."""
    config, schedule, steps = problem.config, problem.config.schedule, _steps(problem, trial)
    keras.utils.set_random_seed(config.seed)
    with precision.policy(config.mixed_precision):
        model = build_network(network, config.resolution, problem.source.num_classes)
    settings = WeightStep(
        weight_decay=schedule.weight_decay,
        label_smoothing=schedule.label_smoothing,
        dropout=0.0,  # as in the supernet
        jit_compile=config.jit_compile,
        mixed_precision=config.mixed_precision,
    )
    trainer = WeightTrainer(model, settings, config.seed, shards)
    batches = training_images(problem, problem.weight_part, 0, shards)  # the same for each network
    for step in range(steps):
        if step == int((1 - _COUNTED) * steps):
            trainer.begin_epoch()
        rate = trial.rate(step, steps, schedule.warmup_learning_rate)
        trainer.step(*next(batches), step, rate)
        shown(step + 1)
    try:
        return trainer.figures()["train_top1"]
    except UserError:
        # What diverges at the search's own rate is not taken; the others go on.
        return 0.0
