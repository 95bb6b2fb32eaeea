"""What figures say of candidates, against linear algebra that is written out."""

import numpy as np
import pytest

from nas_tf.search.additive_model import SHARE, AdditiveModel, normal_scores
from nas_tf.search.candidate_features import candidate_features
from nas_tf.space.search_space import find_space

BLOCKS, CANDIDATES = 4, 3
OFFERED = np.ones((BLOCKS, CANDIDATES), bool)


def _one_hot():
    """A feature for each candidate of each block."""
    return np.eye(BLOCKS * CANDIDATES).reshape(BLOCKS, CANDIDATES, -1)


def _networks(count, rng):
    return list(rng.integers(0, CANDIDATES, (count, BLOCKS)))


def _figures(effects, choices):
    return [float(effects[np.arange(BLOCKS), choice].sum()) for choice in choices]


def _design(features, choices):
    return np.array([sum(features[b, k] for b, k in enumerate(choice)) for choice in choices])


def test_normal_scores_keep_the_order_and_nothing_else():
    from scipy.stats import norm

    found = normal_scores([0.3, 0.0, 0.9, 0.5])
    np.testing.assert_allclose(found, norm.ppf([0.375, 0.125, 0.875, 0.625]))
    np.testing.assert_allclose(normal_scores([3.0, -1e9, 9.0, 5.0]), found)
    # Equals get their mean: the middle two of four have (Φ⁻¹(0.375) + Φ⁻¹(0.625)) / 2 = 0.
    np.testing.assert_allclose(normal_scores([1.0, 2.0, 2.0, 3.0])[1:3], 0.0, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_effects_are_those_of_ridge_regression(seed):
    """Weights (ΦᵀΦ + λI)⁻¹ Φᵀ z with λ = (1 − s) / (s·c): another way to write the same posterior mean."""
    rng = np.random.default_rng(seed)
    choices = _networks(9, rng)
    figures = rng.normal(size=9)
    model = AdditiveModel(_one_hot(), OFFERED, choices, figures)
    design = _design(_one_hot(), choices)
    mean = design.mean(axis=0)
    centred = design - mean
    scale = 1 / np.mean((centred**2).sum(axis=1))
    penalty = (1 - SHARE) / (SHARE * scale)
    weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(12), centred.T @ normal_scores(figures))
    np.testing.assert_allclose(model.effects(), weights.reshape(BLOCKS, CANDIDATES), atol=1e-12)


def test_draws_have_the_posterior_mean_and_covariance():
    """Covariance (ΦᵀΦ / (1 − s) + I / (s·c))⁻¹ of the weights."""
    rng = np.random.default_rng(2)
    choices = _networks(8, rng)
    model = AdditiveModel(_one_hot(), OFFERED, choices, rng.normal(size=8))
    design = _design(_one_hot(), choices)
    centred = design - design.mean(axis=0)
    variance = SHARE / np.mean((centred**2).sum(axis=1))
    covariance = np.linalg.inv(centred.T @ centred / (1 - SHARE) + np.eye(12) / variance)
    draws = np.stack([model.effects(rng).ravel() for _ in range(20_000)])
    deviation = np.sqrt(np.diag(covariance))
    # Five standard errors of a mean; of a covariance about five of √(2/n).
    np.testing.assert_array_less(
        abs(draws.mean(axis=0) - model.effects().ravel()), 5 * deviation / 20_000**0.5
    )
    error = abs(np.cov(draws.T) - covariance) / np.outer(deviation, deviation)
    assert error.max() < 5 * np.sqrt(2 / 20_000)


def test_draws_can_be_nearer_to_the_mean():
    rng = np.random.default_rng(6)
    model = AdditiveModel(_one_hot(), OFFERED, _networks(8, rng), rng.normal(size=8))
    mean = model.effects()
    whole, half = (model.effects(np.random.default_rng(0), deviation) for deviation in (1.0, 0.5))
    np.testing.assert_allclose(half - mean, 0.5 * (whole - mean))


def test_additive_figures_are_learned():
    rng = np.random.default_rng(3)
    effects = rng.normal(size=(BLOCKS, CANDIDATES))
    choices = list(np.unique(rng.integers(0, CANDIDATES, (60, BLOCKS)), axis=0))
    unseen = _networks(200, rng)
    model = AdditiveModel(_one_hot(), OFFERED, choices, _figures(effects, choices))
    assert np.corrcoef(_figures(model.effects(), unseen), _figures(effects, unseen))[0, 1] > 0.95


def test_one_that_diverged_changes_the_order_of_none():
    rng = np.random.default_rng(4)
    effects = rng.normal(size=(BLOCKS, CANDIDATES))
    choices = list(np.unique(rng.integers(0, CANDIDATES, (40, BLOCKS)), axis=0))
    figures = _figures(effects, choices)
    worst = int(np.argmin(figures))
    diverged = [value if i != worst else -1e6 for i, value in enumerate(figures)]
    models = [AdditiveModel(_one_hot(), OFFERED, choices, values) for values in (figures, diverged)]
    np.testing.assert_array_equal(models[0].effects(), models[1].effects())


def test_what_is_not_offered_is_worth_nothing_at_all():
    offered = OFFERED.copy()
    offered[1, 2] = False
    rng = np.random.default_rng(5)
    choices = [choice for choice in _networks(30, rng) if choice[1] != 2]
    model = AdditiveModel(_one_hot(), offered, choices, rng.normal(size=len(choices)).tolist())
    for found in (model.effects(), model.effects(rng)):
        np.testing.assert_array_equal(np.isneginf(found), ~offered)


def test_what_is_learned_in_one_block_tells_of_the_same_property_in_another():
    """Networks differ in the first block's kernel alone; larger ones are expected to help in others too."""
    space = find_space("small")
    choices = space.choices(32)
    features = candidate_features(choices)
    offered = np.zeros(features.shape[:2], bool)
    for row, choice in zip(offered, choices, strict=True):
        row[: len(choice.specs)] = True
    names = [[operation.name for operation in choice.operations] for choice in choices]
    base = np.array([row.index("3_3") for row in names])
    networks, figures = [], []
    for name, figure in (("3_3", 0.0), ("3_5", 1.0), ("3_7", 2.0)):
        networks.append(base.copy())
        networks[-1][0] = names[0].index(name)
        figures.append(figure)
    effects = AdditiveModel(features, offered, networks, figures).effects()
    last = effects[-1]
    assert last[names[-1].index("3_7")] > last[names[-1].index("3_3")]
    first = effects[0]
    gain = first[names[0].index("3_7")] - first[names[0].index("3_3")]
    # Less than in the block itself, of which it was seen.
    assert 0 < last[names[-1].index("3_7")] - last[names[-1].index("3_3")] < gain


def test_each_candidate_has_its_properties_and_itself():
    choices = find_space("small_universal").choices(32)
    features = candidate_features(choices)
    assert features.shape[0] == len(choices) and set(np.unique(features)) == {0.0, 1.0}
    for row, choice in zip(features, choices, strict=True):
        for candidate, operation in zip(row, choice.operations, strict=False):
            fields = len(vars(operation))
            # The candidate in this block; its kind and fields here, and in any block.
            assert candidate.sum() == 1 + 2 * (1 + fields)
        assert not row[len(choice.operations) :].any()
        # No two candidates of a block are the same to a model.
        assert len(np.unique(row[: len(choice.operations)], axis=0)) == len(choice.operations)
