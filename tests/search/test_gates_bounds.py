"""Gates at the ends: zero probabilities, extreme alphas, draws that fall on a bound."""

import numpy as np
import pytest

from nas_tf.search import gates


class Draws:
    """A generator whose uniform draws are given."""

    def __init__(self, *values):
        self._values = list(values)

    def random(self, shape):
        return np.full(shape, self._values.pop(0))


@pytest.mark.parametrize(
    "p, u, candidate",
    [
        ([0.25, 0.25, 0.5], 0.0, 0),
        ([0.25, 0.25, 0.5], 0.25, 1),  # [0.25, 0.5) is the second's
        ([0.25, 0.25, 0.5], 0.4999, 1),
        ([0.25, 0.25, 0.5], 0.5, 2),
        ([0.25, 0.25, 0.5], 0.9999, 2),
        ([0.0, 1.0, 0.0], 0.0, 1),
        ([0.0, 0.0, 1.0], 0.0, 2),  # never one of probability 0
        ([0.5, 0.5, 0.0], 1 - 2**-53, 1),
        ([0.05, 0.15, 0.0], 0.25, 1),
    ],
)  # mass below 1: by shares
def test_intervals_of_the_unit_line_belong_to_candidates(p, u, candidate):
    assert gates.sample(Draws(u), np.array([p])).tolist() == [candidate]


def test_every_row_has_a_draw_of_its_own():
    draws = gates.sample(np.random.default_rng(0), np.full((2000, 2), 0.5))
    assert 0.45 < draws.mean() < 0.55


def test_the_second_of_a_pair_is_drawn_by_what_the_first_leaves():
    p = np.array([[0.5, 0.2, 0.3]])
    # 0.6 falls on candidate 1; left are [0.5, 0, 0.3] of mass 0.8, where 0.7 · 0.8 falls on 2.
    involved, active = gates.sample_involved(Draws(0.6, 0.7, 0.3), p, np.ones((1, 3), bool), 2)
    assert involved.tolist() == [[False, True, True]]
    # Of [0.4, 0.6] the draw 0.3 takes the first.
    assert active.tolist() == [1]
    assert p.tolist() == [[0.5, 0.2, 0.3]]  # the caller's own, left as it was


def test_the_partner_of_a_candidate_with_all_the_mass_is_another_that_is_offered():
    p, offered = np.array([[0.0, 1.0, 0.0, 0.0]]), np.array([[True, True, False, True]])
    partners = {
        tuple(gates.sample_involved(Draws(0.5, u, 0.5), p, offered, 2)[0][0]) for u in (0.0, 0.4, 0.6, 0.99)
    }
    assert partners == {(True, True, False, False), (False, True, False, True)}


def test_logarithms_of_extreme_alphas_are_exact():
    found = gates.log_probabilities(np.array([[1e4, -1e4], [900.0, 900.0], [-800.0, -np.inf]]))
    np.testing.assert_allclose(found, [[0, -2e4], [-np.log(2)] * 2, [0, -np.inf]])


@pytest.mark.parametrize("level", [-2000.0, 0.0, 2000.0])
def test_mass_is_kept_for_alphas_of_any_level(level):
    involved = np.array([[True, True, False], [False, True, True]])
    before = np.array([[0.0, 1.0, 0.5], [0.2, 0.3, -0.5]]) + level
    after = before + np.array([[2.0, -1.0, 0.0], [0.0, 0.7, 0.1]])
    kept = gates.keep_involved_mass(before, after, involved)
    old, new = gates.probabilities(before), gates.probabilities(kept)
    assert np.isfinite(kept).all()
    np.testing.assert_array_equal(kept[~involved], before[~involved])
    np.testing.assert_allclose((new * involved).sum(1), (old * involved).sum(1), rtol=1e-12)
    np.testing.assert_allclose(kept[0, 0] - kept[0, 1], after[0, 0] - after[0, 1])


def test_entropy_leaves_out_what_has_no_probability():
    assert gates.entropy(np.array([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx(np.log(2))
    assert gates.entropy(np.array([[0.9, 0.1]])) == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.1))


def test_a_gradient_by_score_leaves_the_probabilities_as_they_are():
    p = np.array([[0.25, 0.75], [0.5, 0.5]])
    gradient = gates.score_gradient(np.array([1, 0]), p)
    np.testing.assert_array_equal(gradient, [[-0.25, 0.25], [0.5, -0.5]])
    np.testing.assert_array_equal(p, [[0.25, 0.75], [0.5, 0.5]])
