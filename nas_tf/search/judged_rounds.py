"""Networks judged in rounds, each of which is drawn by what the rounds before said of every candidate."""

from collections.abc import Callable, Sequence

import numpy as np

from nas_tf.search.additive_model import AdditiveModel
from nas_tf.search.candidate_features import candidate_features
from nas_tf.search.judging import drawn_networks
from nas_tf.search.problem import SearchProblem

_DEVIATION = 0.5  # of draws, in that of the model given the figures
_ATTEMPTS = 10  # for each network wanted, before there are taken to be no others

Judge = Callable[[Sequence[np.ndarray]], list[float]]


def judged_in_rounds(
    problem: SearchProblem, log_p: np.ndarray, judge: Judge, say: Callable[[str], None]
) -> tuple[list[np.ndarray], list[float]]:
    """The networks that are judged, the best first, and their figures.

    The first round is drawn by alpha. For each further one, a model of what candidates add to the figures so
    far is fitted; the round has the network that it holds for the best within the budget, and the best by
    draws of the model given the figures (Thompson sampling: Russo and others 2018, section 4), with half of
    their deviation: so few figures are better used than explored.

    Args:
      log_p: of alpha; −inf for absent candidates.
      judge: choices → a figure for each, the higher the better.
      say: takes a line for people.

    Returns:
      Candidates of each block, int64 [blocks], of each network; figures.
    """
    config = problem.config
    choices = drawn_networks(
        lambda p: problem.derive(p)[0], problem.fits, log_p, config.judged_networks, config.seed
    )
    rng = np.random.default_rng((config.seed, len(choices)))
    # Of the control that learns nothing, figures that say nothing; to train for them would change nothing.
    judge = _without_information(rng) if config.algorithm == "random" else judge
    figures = judge(choices)
    for number in range(2, config.judge_rounds + 1):
        say(f"round {number}/{config.judge_rounds}: networks like the best of {len(choices)} judged")
        model = _model(problem, choices, figures)
        new = _proposed(problem, model, choices, rng)
        choices, figures = choices + new, figures + (judge(new) if new else [])
    # Of equals the first, and so the most probable one where it is among them.
    order = sorted(range(len(choices)), key=lambda index: -figures[index])
    return [choices[index] for index in order], [figures[index] for index in order]


def _without_information(rng: np.random.Generator) -> Judge:
    return lambda choices: rng.random(len(choices)).tolist()


def _model(problem: SearchProblem, choices: Sequence[np.ndarray], figures: Sequence[float]) -> AdditiveModel:
    features = candidate_features(problem.space.choices(problem.config.resolution))
    return AdditiveModel(features, problem.offered, choices, figures)


def _proposed(
    problem: SearchProblem, model: AdditiveModel, known: Sequence[np.ndarray], rng: np.random.Generator
) -> list[np.ndarray]:
    """Networks for the next round that are not known; fewer where hardly any others are left."""
    taken, found = {tuple(choice) for choice in known}, []
    count = problem.config.judged_networks
    for attempt in range(_ATTEMPTS * count):
        if len(found) == count:
            break
        choice = problem.derive(model.effects(rng if attempt else None, _DEVIATION))[0]
        if tuple(choice) not in taken:
            taken.add(tuple(choice))
            found.append(choice)
    return found
