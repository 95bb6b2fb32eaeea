"""The integer program of the derivation on problems of a few networks."""

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.search.derivation import most_probable
from nas_tf.search.objective import Resource


def _resource(costs, limit, fixed=0.0, name="latency_ms"):
    return Resource(name, np.array(costs, float), fixed, limit)


LOG_P = np.log([[0.7, 0.3], [0.6, 0.4]])
COSTS = [[5.0, 1.0], [3.0, 2.0]]


@pytest.mark.parametrize(
    "limit, wanted",
    [
        (8.0, [[0, 0], [0, 1], [1, 0], [1, 1]]),
        (7.9, [[0, 1], [1, 0], [1, 1]]),
        (6.9, [[1, 0], [1, 1]]),
        (3.5, [[1, 1]]),
    ],
)
def test_all_that_fits_in_the_order_of_probability(limit, wanted):
    found = most_probable(LOG_P, [_resource(COSTS, limit)], count=9)
    assert [c.tolist() for c in found] == wanted
    assert all(c.dtype == np.int64 for c in found)


def test_no_more_than_asked_for():
    assert [c.tolist() for c in most_probable(LOG_P, [], count=2)] == [[0, 0], [0, 1]]
    assert len(most_probable(LOG_P, [])) == 1


def test_the_fixed_cost_counts():
    assert most_probable(LOG_P, [_resource(COSTS, 108.0, 100.0)])[0].tolist() == [0, 0]
    assert most_probable(LOG_P, [_resource(COSTS, 107.9, 100.0)])[0].tolist() == [0, 1]


def test_every_limit_holds():
    other = _resource([[0.0, 9e6], [7e6, 1e6]], 8e6, name="params")
    # By latency alone [1, 0] and [1, 1]; by parameters [0, 0] and [0, 1].
    assert [c.tolist() for c in most_probable(LOG_P, [other], count=9)] == [[0, 0], [0, 1]]
    assert most_probable(LOG_P, [_resource(COSTS, 7.5), other])[0].tolist() == [0, 1]
    with pytest.raises(
        UserError, match="^No network of the search space satisfies latency_ms <= 6.9, params <= 8e\\+06.$"
    ):
        most_probable(LOG_P, [_resource(COSTS, 6.9), other])


def test_a_budget_may_be_negative_where_a_correction_makes_it_so():
    """A table with a negative intercept: limit − fixed decides, not the sign of the limit."""
    assert most_probable(LOG_P, [_resource(COSTS, -2.0, -10.0)])[0].tolist() == [0, 0]
    assert most_probable(LOG_P, [_resource(COSTS, -2.5, -10.0)])[0].tolist() == [0, 1]


def test_absent_candidates_are_never_taken():
    log_p = np.array([[np.log(1e-9), -np.inf, 0.0], [0.0, -np.inf, -np.inf]])
    found = most_probable(log_p, [_resource([[1.0, 0.0, 9.0], [1.0, 0.0, 0.0]], 5.0)], count=9)
    assert [c.tolist() for c in found] == [[0, 0]]


def test_the_optimum_is_exact_where_many_networks_are_nearly_as_good():
    random = np.random.default_rng(0)
    log_p = np.log(random.dirichlet(np.full(6, 2000.0), 12))  # all but equal
    costs = random.uniform(1, 2, log_p.shape)
    limit = costs.min(1).sum() * 1.1
    (choice,) = most_probable(log_p, [_resource(costs, limit)])
    best = log_p[np.arange(12), choice].sum()
    # A Lagrangian bound: no network within the limit scores above min over m of the relaxation.
    bound = min((log_p - m * costs).max(1).sum() + m * limit for m in np.linspace(0, 3, 3001))
    assert best <= bound + 1e-9
    # No exchange of two blocks is better.
    for i in range(12):
        for j in range(i):
            for a in range(6):
                for b in range(6):
                    other = choice.copy()
                    other[[i, j]] = a, b
                    if costs[np.arange(12), other].sum() <= limit:
                        assert log_p[np.arange(12), other].sum() <= best + 1e-9
