"""Binary gates against closed forms, finite differences and counts."""

import itertools

import numpy as np
import pytest

from nas_tf.search import gates

OFFERED = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]], bool)


def _alpha(seed: int = 0, scale: float = 1.0) -> np.ndarray:
    alpha = np.random.default_rng(seed).normal(0, scale, OFFERED.shape)
    return np.where(OFFERED, alpha, -np.inf)


def test_probabilities_are_a_softmax_without_the_absent():
    p = gates.probabilities(np.array([[0.0, np.log(2), np.log(5), -np.inf]]))
    np.testing.assert_allclose(p, [[0.125, 0.25, 0.625, 0.0]], rtol=1e-12)
    np.testing.assert_allclose(
        np.exp(gates.log_probabilities(_alpha())), gates.probabilities(_alpha()), rtol=1e-12
    )


def test_probabilities_survive_extreme_alpha():
    p = gates.probabilities(np.array([[1e4, -1e4], [800.0, 800.0]]))
    np.testing.assert_allclose(p, [[1, 0], [0.5, 0.5]])


def test_entropy_of_uniform_gates_is_the_sum_of_log_counts():
    p = gates.probabilities(np.where(OFFERED, 0.0, -np.inf))
    assert gates.entropy(p) == pytest.approx(np.log(4) + np.log(3) + np.log(2))


def test_sampling_frequencies_match_the_probabilities():
    p, rng, draws = gates.probabilities(_alpha()), np.random.default_rng(1), 20_000
    counts = np.zeros(p.shape)
    for _ in range(draws):
        counts[np.arange(len(p)), gates.sample(rng, p)] += 1
    # Five standard deviations of a binomial share.
    assert (np.abs(counts / draws - p) <= 5 * np.sqrt(p * (1 - p) / draws)).all()
    assert not counts[~OFFERED].any()


def test_pairs_are_drawn_without_replacement():
    p, rng, draws = gates.probabilities(_alpha()), np.random.default_rng(2), 8_000
    counts, active_counts = np.zeros(p.shape), np.zeros(p.shape)
    for _ in range(draws):
        involved, active = gates.sample_involved(rng, p, OFFERED, 2)
        assert (involved.sum(axis=1) == 2).all() and involved[np.arange(len(p)), active].all()
        counts += involved
        active_counts[np.arange(len(p)), active] += 1
    # P(i involved) = p_i + Σ_j p_j p_i / (1 − p_j); P(i active) = Σ_j P(pair ij) p_i / (p_i + p_j)
    expected, active_expected = np.zeros(p.shape), np.zeros(p.shape)
    for b, row in enumerate(p):
        for i in OFFERED[b].nonzero()[0]:
            for j in OFFERED[b].nonzero()[0]:
                if i != j:
                    pair = row[i] * row[j] / (1 - row[i]) + row[j] * row[i] / (1 - row[j])
                    expected[b, i] += pair
                    active_expected[b, i] += pair * row[i] / (row[i] + row[j])
    tolerance = 5 * 0.5 / np.sqrt(draws)
    np.testing.assert_allclose(counts / draws, expected, atol=tolerance)
    np.testing.assert_allclose(active_counts / draws, active_expected, atol=tolerance)


def test_any_number_is_drawn_without_replacement():
    p, rng, draws = gates.probabilities(_alpha()), np.random.default_rng(5), 8_000
    counts = np.zeros(p.shape)
    for _ in range(draws):
        involved, active = gates.sample_involved(rng, p, OFFERED, 3)
        assert (involved.sum(axis=1) == np.minimum(OFFERED.sum(axis=1), 3)).all()
        assert not (involved & ~OFFERED).any() and involved[np.arange(len(p)), active].all()
        counts += involved
    # P(i, j, k in this order) = p_i · p_j / (1 − p_i) · p_k / (1 − p_i − p_j)
    expected = np.zeros(p.shape)
    for b, row in enumerate(p):
        names = OFFERED[b].nonzero()[0]
        if len(names) <= 3:
            expected[b, names] = 1.0
            continue
        for i, j, k in itertools.permutations(names, 3):
            probability = row[i] * row[j] / (1 - row[i]) * row[k] / (1 - row[i] - row[j])
            expected[b, [i, j, k]] += probability
    np.testing.assert_allclose(counts / draws, expected, atol=5 * 0.5 / np.sqrt(draws))


def test_pairs_exist_where_one_candidate_has_all_the_mass():
    alpha = np.array([[2000.0, 0.0, 0.0, 0.0]])
    offered = np.ones((1, 4), bool)
    for seed in range(20):
        involved, active = gates.sample_involved(
            np.random.default_rng(seed), gates.probabilities(alpha), offered, 2
        )
        assert involved.sum() == 2 and involved[0, 0] and active[0] == 0


def test_alpha_gradient_equals_finite_differences_of_a_mean():
    alpha, value = _alpha(3), np.random.default_rng(4).normal(size=OFFERED.shape)

    def mean(a):
        return (gates.probabilities(a) * value).sum()

    gradient = gates.alpha_gradient(value, gates.probabilities(alpha))
    for index in np.argwhere(OFFERED):
        step = np.zeros(OFFERED.shape)
        step[tuple(index)] = 1e-6
        numeric = (mean(alpha + step) - mean(alpha - step)) / 2e-6
        assert gradient[tuple(index)] == pytest.approx(numeric, abs=1e-9)


def test_alpha_gradient_is_the_double_sum_of_the_paper():
    p = gates.probabilities(_alpha(5))
    g = np.random.default_rng(6).normal(size=p.shape)
    # ∂L/∂α_i = Σ_j ∂L/∂g_j · p_j (δ_ij − p_i)
    expected = np.zeros(p.shape)
    for b in range(p.shape[0]):
        for i in range(p.shape[1]):
            expected[b, i] = sum(g[b, j] * p[b, j] * ((i == j) - p[b, i]) for j in range(p.shape[1]))
    np.testing.assert_allclose(gates.alpha_gradient(g, p), expected, atol=1e-14)


def test_score_gradient_equals_finite_differences_of_the_log_probability():
    alpha, choice = _alpha(7), np.array([2, 0, 1])
    gradient = gates.score_gradient(choice, gates.probabilities(alpha))
    for index in np.argwhere(OFFERED):
        step = np.zeros(OFFERED.shape)
        step[tuple(index)] = 1e-6
        rows = np.arange(3)
        numeric = (
            gates.log_probabilities(alpha + step)[rows, choice].sum()
            - gates.log_probabilities(alpha - step)[rows, choice].sum()
        ) / 2e-6
        assert gradient[tuple(index)] == pytest.approx(numeric, abs=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_a_step_of_two_leaves_the_other_probabilities(seed):
    rng = np.random.default_rng(seed)
    before = _alpha(seed, scale=3.0)
    involved, _ = gates.sample_involved(rng, gates.probabilities(before), OFFERED, 2)
    after = before + np.where(involved, rng.normal(0, 2.0, before.shape), 0.0)
    kept = gates.keep_involved_mass(before, after, involved)
    old, new = gates.probabilities(before), gates.probabilities(kept)
    np.testing.assert_allclose(new[~involved], old[~involved], atol=1e-12)
    # The pair's inner odds are those that the step asked for.
    np.testing.assert_allclose(
        gates.renormalised(new, involved),
        gates.renormalised(gates.probabilities(after), involved),
        atol=1e-12,
    )
