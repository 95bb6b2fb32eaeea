"""How often steps wait for the host to read what was computed, and that reading later changes nothing."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from benchmarks.host_reads import counted
from nas_tf.base.errors import UserError
from nas_tf.base.progress import LOOK_EVERY
from nas_tf.distribute.workers import ALONE
from nas_tf.search import state as search_state
from tests.distribute import equal_steps


def test_the_count_sees_every_way_to_read():
    value, variable = tf.constant(2.0), tf.Variable(3.0)
    with counted(lambda tensor: tensor.dtype == tf.float32) as count:
        assert float(value) + value.numpy() + int(value) == 6 and bool(value > 1)
        assert variable.numpy() == 3
        value + value  # computed, and read by nobody
    # The truth of `value > 1` is no float32.
    assert count.reads == 4


@pytest.mark.parametrize(
    "kind, shards, steps, wanted",
    [
        ("train", 1, 20, 0),
        ("train", 2, 20, 0),
        ("finetune, ranges move", 1, 20, 0),
        ("finetune", 2, 20, 0),
        ("warmup", 1, 2 * LOOK_EVERY, 2),
        # One for the gates and one for the loss of the weight step before it.
        ("two", 1, 10, 20),
        ("two", 2, 10, 20),
        ("full", 1, 10, 20),
        ("reinforce", 1, 10, 20),
    ],
)
def test_steps_are_not_waited_for(table, kind, shards, steps, wanted):
    """Alpha, which the host draws by, is float64 and lies in its memory: reading it waits for nothing."""
    work, _ = equal_steps.kinds(table)[kind](ALONE, shards, steps)
    work()  # which also traces
    with counted(lambda tensor: tensor.dtype == tf.float32) as count:
        work()
    assert count.reads == wanted


@pytest.mark.parametrize("kind", ["warmup", "two"])
def test_alpha_is_read_in_the_memory_of_the_host(table, kind):
    """And is not copied to the device first, which would be waited for."""
    work, _ = equal_steps.kinds(table)[kind](ALONE, 1, 3)

    def elsewhere(tensor):
        return tensor.dtype == tf.float64 and "CPU:0" not in (context.context().device_name or "")

    with counted(elsewhere) as count, counted(lambda tensor: tensor.dtype == tf.float64) as every:
        work()
    assert every.reads >= 3 and count.reads == 0


@pytest.mark.parametrize("kind", ["warmup", "two"])
def test_reading_later_changes_no_bit(table, monkeypatch, kind):
    """Weights, alpha, optimizers, sums: beside a run that reads each loss after its step."""
    found, seen = [], []
    step = search_state.weight_step

    def read_at_once(*args):
        loss, hits = step(*args)
        seen.append((float(loss), float(hits)))
        return loss, hits

    for look_every in (1, LOOK_EVERY):
        with monkeypatch.context() as patch:
            patch.setattr(search_state, "LOOK_EVERY", look_every)
            if look_every == 1:
                patch.setattr(search_state, "weight_step", read_at_once)
            work, variables = equal_steps.kinds(table)[kind](ALONE, 1, 7)
            work()
            found.append([variable.numpy() for variable in variables()])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    (numbers,) = (v for v in found[1] if v.dtype == np.float64 and v.ndim == 1)
    # Added by hand in Python's own float64, in the order of the steps.
    loss = hits = 0.0
    for one_loss, one_hits in seen:
        loss, hits = loss + one_loss, hits + one_hits
    assert numbers[:4].tolist() == [7, loss, hits, 7 * equal_steps.IMAGES]


@pytest.mark.parametrize("meets", ["save", "alpha", "figures", "next epoch", "many steps"])
def test_a_loss_that_is_not_finite_is_named_by_its_step_whatever_comes_next(table, monkeypatch, meets):
    state = equal_steps.search_state(ALONE, 1, table)
    monkeypatch.setattr(
        search_state,
        "weight_step",
        lambda *_: (tf.constant(float("nan" if state.at == 3 else "1")), tf.constant(0.0)),
    )
    batch = equal_steps.own(state.shards)

    def take(steps):
        for state.at in steps:
            state.weight_step(state.at, *batch, 0.1)

    take(range(6))  # and nobody has noticed
    with pytest.raises(
        UserError, match="search's training loss became nan in step 4,.*Nothing of it was saved"
    ):
        {
            "save": state.pack,
            "alpha": lambda: state.alpha_step(5, *batch),
            "figures": state.figures,
            "next epoch": state.begin_epoch,
            "many steps": lambda: take(range(6, LOOK_EVERY)),
        }[meets]()


def test_alpha_lies_in_the_hosts_memory(table):
    parameters = equal_steps.search_state(ALONE, 1, table).parameters
    assert all(variable.device.endswith("/device:CPU:0") for variable in parameters.variables)
