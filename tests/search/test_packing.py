"""The numbers of a search's checkpoint: one order for both ways, nothing of another length."""

import numpy as np
import pytest
import tensorflow as tf

from nas_tf.base.checkpoints import RunCheckpoint
from nas_tf.base.errors import UserError
from nas_tf.search.config import Budget
from nas_tf.search.packing import Packing
from nas_tf.search.problem import check_problem
from nas_tf.search.state import SearchState
from tests.search.test_wiring import TARGET_MS, config

SIZES = {"loss": 1, "multipliers": 3, "baseline": 1}
VALUES = {"baseline": -1e-300, "loss": 1 / 3, "multipliers": np.array([0.1, np.pi, 2.0**-1074])}


def test_a_round_trip_is_exact_and_the_order_is_the_descriptions():
    packing = Packing(SIZES)
    vector = packing.pack(VALUES)
    assert vector.dtype == np.float64 and packing.size == len(vector) == 5
    np.testing.assert_array_equal(vector, [1 / 3, 0.1, np.pi, 2.0**-1074, -1e-300])
    found = packing.unpack(vector)
    assert list(found) == list(SIZES)
    for name, value in VALUES.items():
        np.testing.assert_array_equal(found[name], np.atleast_1d(value))


def test_what_is_unpacked_is_no_view_of_the_vector():
    vector = Packing(SIZES).pack(VALUES)
    Packing(SIZES).unpack(vector)["multipliers"][:] = 7.0
    assert 7.0 not in vector


@pytest.mark.parametrize(
    "values",
    [
        {**VALUES, "multipliers": np.zeros(2)},
        {**VALUES, "loss": [1.0, 2.0]},
        {**VALUES, "entropy": 0.5},
        {name: value for name, value in VALUES.items() if name != "loss"},
    ],
)
def test_other_names_or_sizes_are_not_packed(values):
    with pytest.raises(ValueError, match=r"Numbers by name are \{'loss': 1, 'multipliers': 3, .*, not \{"):
        Packing(SIZES).pack(values)


@pytest.mark.parametrize("shape", [(4,), (6,), (0,), (5, 1)])
def test_a_vector_of_another_length_is_not_unpacked(shape):
    with pytest.raises(ValueError, match=r"5 in all, not \("):
        Packing(SIZES).unpack(np.zeros(shape))


def _set(state: SearchState, start: float) -> None:
    """Every number of the state another one: start, start + 1, …"""
    numbers = start + np.arange(6 + len(state.objective.state) + 1) + 1 / 3
    state._sums = dict(zip(state._sums, numbers[:6].tolist(), strict=True))
    state.objective.state = numbers[6:-1]
    state.reinforce.baseline = float(numbers[-1])


def _numbers(state: SearchState) -> list[float]:
    return [*state._sums.values(), *state.objective.state, state.reinforce.baseline]


@pytest.mark.parametrize("budget", [Budget(TARGET_MS), Budget(TARGET_MS, 8_000, 400_000)])
def test_a_search_comes_back_as_it_was_packed(table, budget):
    state = SearchState(check_problem(config(table, budget=budget)))
    _set(state, 10.0)
    before = _numbers(state)
    state.pack()
    _set(state, 500.0)
    state.unpack()
    assert _numbers(state) == before
    assert all(type(value) is float for value in state._sums.values())


def test_checkpoints_written_before_the_description_are_read(table, tmp_path):
    """Their vector: six sums, the scale, a multiplier per resource, the baseline; its key: numbers."""
    state = SearchState(check_problem(config(table, budget=Budget(TARGET_MS, 8_000))))
    written = tf.Variable(np.arange(10.0, 20.0))
    others = {name: value for name, value in state.trackables().items() if name != "numbers"}
    RunCheckpoint(tmp_path, numbers=written, **others).save(3)
    assert RunCheckpoint(tmp_path, **state.trackables()).restore() == 3
    state.unpack()
    assert state._sums == {
        "weight_steps": 10.0,
        "loss": 11.0,
        "hits": 12.0,
        "images": 13.0,
        "alpha_steps": 14.0,
        "alpha_loss": 15.0,
    }
    assert state.objective.state.tolist() == [16.0, 17.0, 18.0]
    assert state.reinforce.baseline == 19.0


def test_a_checkpoint_of_other_budgets_is_refused_in_a_sentence(table, tmp_path):
    state = SearchState(check_problem(config(table)))
    RunCheckpoint(tmp_path, **state.trackables()).save(3)
    other = SearchState(check_problem(config(table, budget=Budget(TARGET_MS, 8_000))))
    with pytest.raises(UserError, match="does not fit this run or is damaged; use another --workdir"):
        RunCheckpoint(tmp_path, **other.trackables()).restore()


def test_names_of_a_checkpoint_stay(table, tmp_path):
    """Run folders of every version know the state by these."""
    state = SearchState(check_problem(config(table)))
    RunCheckpoint(tmp_path, **state.trackables()).save(1)
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(tmp_path / "checkpoint")))
    keys = {key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for key in reader.get_variable_to_shape_map()}
    paths = ("stem", "first", "after", *(f"blocks/{b}/paths/{k}" for b in (0, 1) for k in (0, 1)))
    slots = ("stem", "first", "after", "block0_3_3", "block0_6_5", "block1_3_3", "block1_6_5")
    assert keys - {"_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter", "run_step"} == {
        "numbers",
        "seconds",
        *(f"parameters/{name}" for name in ("alpha", "first_moment", "second_moment", "steps")),
        *(f"supernet/{path}/{name}" for path in paths for name in ("trained", "statistics")),
        *(f"weight_optimizer/slots/{name}" for name in slots),
    }
