"""Candidates that no network within the budget can have: which they are, and that nobody runs them."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from nas_tf.base.errors import UserError
from nas_tf.base.metric_log import read_metrics
from nas_tf.latency.candidate_costs import offered_candidates
from nas_tf.latency.table import LatencyTable, load_table, save_table
from nas_tf.search import dropping, gates
from nas_tf.search.architecture_parameters import ArchitectureParameters
from nas_tf.search.config import Budget
from nas_tf.search.derivation import most_probable
from nas_tf.search.objective import Resource
from nas_tf.search.problem import check_problem
from nas_tf.search.reinforce import Reinforce
from nas_tf.search.run import run_search
from nas_tf.search.state import SearchState
from nas_tf.space.search_space import SPACES
from nas_tf.supernet import tying
from nas_tf.supernet.steps import EagerSteps, GraphSteps, gate_gradients
from nas_tf.supernet.supernet import Supernet
from nas_tf.supernet.widening import beginnings
from tests.search.helpers import MICRO, all_choices
from tests.search.test_wiring import Recorder, search, searched
from tests.search.test_wiring import config as keeping
from tests.supernet.test_forms import MIXED


def _brute_force(resources, offered: np.ndarray) -> np.ndarray:
    """The candidates of all networks within all limits, by looking at every network."""
    found = np.zeros_like(offered)
    for choice in all_choices(offered):
        if all(r.of(choice) <= r.limit for r in resources):
            found[np.arange(len(choice)), choice] = True
    return found


def _random(seed: int, count: int):
    """(resources, offered) of a small space with a skewed first resource and ragged rows."""
    rng = np.random.default_rng(seed)
    offered = np.arange(5) < rng.integers(2, 6, 4)[:, None]
    resources = []
    for index in range(count):
        costs = np.where(offered, np.exp(rng.normal(0, 1.5 if index == 0 else 0.7, offered.shape)), 0.0)
        low, high = Resource("", costs, 1.0, 0.0).range(offered)
        limit = low + (high - low) * rng.uniform(0.02, 0.5) ** 1.5
        resources.append(Resource(("latency_ms", "params", "macs")[index], costs, 1.0, limit))
    return resources, offered


@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_is_left_is_what_networks_within_the_limits_consist_of(count):
    dropped, further, infeasible = 0, 0, 0
    for seed in range(60):
        resources, offered = _random(seed, count)
        wanted = _brute_force(resources, offered)
        if not wanted.any():
            infeasible += 1
            continue
        found = dropping.affordable(resources, offered)
        np.testing.assert_array_equal(found, wanted, err_msg=str(seed))
        dropped += (offered & ~found).sum()
        once = [
            r.fixed + low.sum() - low[:, None] + r.costs <= r.limit
            for r in resources
            for low in [np.where(offered, r.costs, np.inf).min(axis=1)]
        ]
        further += (np.all(once, axis=0) & offered & ~found).sum()
    assert dropped > 60 and infeasible < 55
    # Of a single limit, the cheapest others decide; of several, more is to be dropped than that.
    assert (further > 0) == (count > 1)


def test_a_network_at_the_very_limit_keeps_its_candidates():
    costs = np.array([[0.1, 0.2], [0.3, 0.7]])
    # In another order than sums over blocks are taken; 0.1 + 0.7 + 0.1 is below 0.9 by rounding.
    limited = Resource("latency_ms", costs, 0.1, 0.1 + (0.1 + 0.7))
    left = dropping.affordable([limited], np.ones((2, 2), bool))
    np.testing.assert_array_equal(left, [[True, True], [True, True]])


def test_limits_that_no_network_meets_are_refused():
    costs = np.array([[1.0, 2.0], [1.0, 2.0]])
    resources = [Resource("latency_ms", costs, 0.0, 3.0), Resource("params", 3.0 - costs, 0.0, 2.5)]
    with pytest.raises(UserError, match="No network"):
        dropping.affordable(resources, np.ones((2, 2), bool))


def test_what_is_dropped_in_words():
    choices = SPACES["small"].choices(32)
    dropped = np.zeros((9, 7), bool)
    dropped[:, 5] = dropped[[0, 1, 2, 4], 2] = dropped[8, 4] = True
    words = dropping.in_words(choices, dropped)
    assert words == "6_7 in blocks 0-8; 3_7 in blocks 0-2, 4; 6_5 in block 8"
    assert dropping.in_words(choices, dropped & False) == ""


@pytest.fixture(scope="module")
def skewed(table, tmp_path_factory) -> str:
    """The table of the two-block space at 16 pixels with 6_5 forty times as dear in the second block."""
    plain = load_table(table)
    block = MICRO.choices(16)[1]
    key = block.specs[[o.name for o in block.operations].index("6_5")].key
    entries = dict(plain.entries)
    entries[key] = dataclasses.replace(entries[key], median_ms=40 * entries[key].median_ms)
    path = tmp_path_factory.mktemp("skewed") / "table.json"
    save_table(path, LatencyTable(plain.identity, entries, plain.intercept_ms))
    return str(path)


def test_the_search_says_what_it_drops_and_records_it(skewed, tmp_path, capsys):
    summary = run_search(str(tmp_path / "a"), config(skewed, {"tied_epochs": 1}))
    assert (
        "search: DROPPED 1 of 5 candidates, which no network within the budget can have "
        "(--nosearch_drop_candidates keeps them): 6_5 in block 1\n"
    ) in capsys.readouterr().err
    assert summary["dropped_candidates"] == 1 and summary["dropped"] == "6_5 in block 1"
    assert json.loads((tmp_path / "a/search/settings.json").read_text())["drop_candidates"] is True
    # Readers go by a candidate's place in the space, so it is listed, at 0.
    for line in read_metrics(tmp_path / "a/search"):
        assert [len(row) for row in line["probabilities"]] == [2, 3]
        assert line["probabilities"][1][1] == 0.0
    kept = run_search(str(tmp_path / "b"), config(skewed, drop_candidates=False))
    assert kept["dropped_candidates"] == 0 and kept["dropped"] == "none"
    assert "DROPPED" not in capsys.readouterr().err
    for line in read_metrics(tmp_path / "b/search"):
        assert line["probabilities"][1][1] > 0.0


def test_a_target_that_nothing_holds_is_said(skewed, tmp_path, capsys):
    """Above every network without the dear candidate, and below any with it."""
    settings = config(skewed)
    latency = check_problem(settings).resources[0]
    slowest = latency.range(check_problem(settings).offered)[1]
    target = round(1.5 * slowest, 3)
    summary = run_search(str(tmp_path), dataclasses.replace(settings, budget=Budget(target)))
    said = capsys.readouterr().err
    assert summary["dropped"] == "6_5 in block 1"
    assert (
        f"search: of what is left, the slowest network takes {slowest:.4g} ms, so nothing holds the latency "
        f"at the target of {target:g}; use a lower --target_latency_ms\n"
    ) in said
    used = summary["predicted_latency_ms"] / target
    unused = summary["unused_budget"]
    assert unused.startswith(
        f"no network uses 95% of the budget or more, as --min_budget_share asks; {used:.1%} is used"
    )
    assert f"the slowest network of the space takes {slowest:.4g} ms, so use a larger --space" in unused
    assert f"search: WARNING: {unused}\n" in said


@pytest.mark.parametrize("mode", ["full", "two"])
def test_what_is_dropped_is_never_drawn_and_has_no_weights(skewed, monkeypatch, tmp_path, mode):
    problem, recorder = searched(config(skewed, {"tied_epochs": 1}, gate_mode=mode), monkeypatch, tmp_path)
    assert problem.dropped.tolist() == [[False, False, False], [False, True, False]]
    assert all(call["active"][1] != 1 for call in recorder.calls) and len(recorder.calls) == 28
    assert not any(call["involved"][1, 1] for call in recorder.of("alpha"))
    state = SearchState(problem)
    assert not any("block1_6_5" in variable.name for variable in state.supernet.weights)
    assert state.supernet.blocks[1].paths[1] is None
    with pytest.raises(ValueError, match="Candidate 1 of block1 is not offered"):
        state.supernet(tf.zeros([1, 16, 16, 3]), [0, 1])


def test_nothing_but_the_dropping_changes(skewed, monkeypatch, tmp_path):
    """The search of a space that never had the candidate draws and learns the same."""
    settings = config(skewed, {"tied_epochs": 1, "alpha_learning_rate": 0.1}, gate_mode="full")
    problem, recorder = searched(settings, monkeypatch, tmp_path / "dropped", work=True)
    assert problem.dropped.sum() == 1
    kept = check_problem(dataclasses.replace(settings, drop_candidates=False))
    by_hand = dataclasses.replace(kept, offered=kept.in_space & ~problem.dropped)
    np.testing.assert_array_equal(by_hand.offered, problem.offered)
    ours = list(recorder.calls)  # the second recorder calls the first
    other = Recorder(monkeypatch)
    search(by_hand, tmp_path / "by_hand")
    for mine, theirs in zip(ours, other.calls, strict=True):
        np.testing.assert_array_equal(mine["active"], theirs["active"])
    np.testing.assert_allclose(ours[-1]["gradient"], other.calls[-1]["gradient"], atol=1e-6)


def test_reinforce_never_runs_what_is_dropped(skewed, monkeypatch, tmp_path):
    seen = []
    original = Reinforce.policy_gradient
    monkeypatch.setattr(
        Reinforce,
        "policy_gradient",
        lambda self, choices, *rest: seen.extend(choices) or original(self, choices, *rest),
    )
    searched(config(skewed, algorithm="reinforce"), monkeypatch, tmp_path)
    assert len(seen) == 70 and all(choice[1] != 1 for choice in seen)


def config(*given, drop_candidates: bool = True, **changes):
    """That of the wiring tests, with dropping as by default."""
    return keeping(*given, drop_candidates=drop_candidates, **changes)


def _masks():
    """What is left of the mixed space: a gap in the middle, at the start, one candidate, ZeroOp alone."""
    full = offered_candidates(MIXED)
    for rows in ({1: [1]}, {0: [0], 2: [0, 4]}, {0: [0, 1, 3, 4], 1: [0, 1, 2, 4, 5]}, {1: [0, 1, 3, 4, 5]}):
        mask = full.copy()
        for row, gone in rows.items():
            mask[row, gone] = False
        yield mask


@pytest.mark.parametrize("mask", _masks())
@pytest.mark.parametrize("two", [False, True])
def test_the_supernets_graph_copes_with_any_mask(mask, two):
    """Against path after path, whatever is dropped."""
    keras.utils.set_random_seed(3)
    net = Supernet(MIXED, 16, 10, offered=mask)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(8, 16, 16, 3)), tf.float32)
    labels = tf.constant(rng.integers(0, 10, 8))
    p = gates.probabilities(np.where(mask, 0.0, -np.inf))
    involved, active = gates.sample_involved(rng, p, mask, 2) if two else (mask, gates.sample(rng, p))
    assert mask[np.arange(3), active].all() and not (involved & ~mask).any()
    np.testing.assert_array_equal(involved.sum(axis=1), np.minimum(mask.sum(axis=1), 2 if two else 9))
    graph, eager = (
        gate_gradients(kind(net), images, labels, involved, active) for kind in (GraphSteps, EagerSteps)
    )
    assert graph[0] == pytest.approx(eager[0], rel=1e-4)
    np.testing.assert_allclose(graph[2], eager[2], atol=1e-4)
    assert not graph[2][~mask].any()


def test_a_block_with_one_candidate_has_nothing_to_learn():
    offered = np.array([[True, True, True], [False, True, False]])
    parameters = ArchitectureParameters(offered, 0.1, 0)
    for seed in range(20):
        involved, active = gates.sample_involved(
            np.random.default_rng(seed), parameters.probabilities(), offered, 2
        )
        assert involved[1].tolist() == [False, True, False] and active[1] == 1
        assert involved[0].sum() == 2 and involved[0, active[0]]
        pair = gates.renormalised(parameters.probabilities(), involved)
        gradient = gates.alpha_gradient(np.arange(6.0).reshape(2, 3), pair)
        assert not gradient[1].any()
        parameters.apply_gradient(gradient, involved)
        np.testing.assert_allclose(parameters.probabilities()[1], [0.0, 1.0, 0.0])


def test_the_smallest_is_one_that_is_offered():
    """Tied candidates must not run what was dropped, and the others widen what ran."""
    space = SPACES["tiny"]
    choice, mask = space.choices(32)[1], offered_candidates(space)
    names = [operation.name for operation in choice.operations]
    for name in ("3_3", "6_3"):
        mask[1, names.index(name)] = False
    assert {names[k] for k in beginnings(choice).values()} == {"3_3"}
    assert {names[k] for k in beginnings(choice, mask[1]).values()} == {"3_5"}
    keras.utils.set_random_seed(0)
    net = Supernet(space, 32, 10, offered=mask)
    images = tf.constant(np.random.default_rng(0).normal(size=(16, 32, 32, 3)), tf.float32)
    active = np.array([4] * len(mask))  # 6_5
    tied = tying.tied(net, active)
    assert names[tied[1]] == "3_5"
    logits = net(images, tied)
    tying.untie(net, np.random.default_rng(0))
    np.testing.assert_allclose(net(images, active), logits, atol=1e-4 * float(tf.math.reduce_std(logits)))


def test_a_block_that_only_skips_is_left_alone_by_tying():
    space = SPACES["tiny"]
    mask = offered_candidates(space)
    mask[1, :6] = False
    net = Supernet(space, 32, 10, offered=mask)
    assert beginnings(space.choices(32)[1], mask[1]) == {}
    assert tying.tied(net, np.array([4, 6, 4, 4, 4]))[1] == 6
    tying.untie(net, np.random.default_rng(0))


def test_derivation_is_of_what_is_offered():
    for seed in range(20):
        resources, offered = _random(seed, 1)
        left = dropping.affordable(resources, offered)
        log_p = np.where(offered, np.random.default_rng(seed).normal(size=offered.shape), -np.inf)
        (whole,) = most_probable(log_p, resources)
        (ours,) = most_probable(np.where(left, log_p, -np.inf), resources)
        np.testing.assert_array_equal(ours, whole)
