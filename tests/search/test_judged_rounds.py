"""Rounds of judged networks: what the later ones are, what is taken, and a killed search."""

import dataclasses

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.search import judging_alone
from nas_tf.search.problem import check_problem
from nas_tf.search.run import run_search
from nas_tf.space.architecture import from_string
from tests.search.alone import figures_of, whole_and_cut, without_shared_weights
from tests.search.helpers import all_choices
from tests.search.test_run import _schedule


def _config(table, **changes):
    """Two networks in each of three rounds."""
    return without_shared_weights(
        _schedule(table, epochs=1), **{"judged_networks": 2, "judge_rounds": 3} | changes
    )


def _within(table):
    problem = check_problem(_config(table))
    latency = problem.resources[0]
    fitting = [c for c in all_choices(problem.offered) if latency.of(c) <= latency.limit]
    return [problem.architecture(choice).to_string() for choice in fitting]


@pytest.fixture
def trained(monkeypatch):
    """Networks in the order in which they were trained; the figure is made of their multiply-adds."""
    found = []

    def made_up(problem, network, *_):
        found.append(network.to_string())
        return network.macs(problem.config.resolution, 10) / 1e9

    monkeypatch.setattr(judging_alone, "_train_alone", made_up)
    return found


def test_later_rounds_look_where_earlier_ones_were_good(table, tmp_path, trained):
    """Multiply-adds are a sum over blocks, as the model takes figures to be."""
    summary = run_search(str(tmp_path), _config(table))
    within, resolution = _within(table), _config(table).resolution
    assert len(trained) == len(set(trained)) == min(6, len(within)) and set(trained) <= set(within)
    macs = {text: from_string(text).macs(resolution, 10) for text in within}
    assert macs[summary["architecture"]] == max(macs.values()) > np.mean(list(macs.values()))
    assert summary["judged_top1"] == pytest.approx(max(macs.values()) / 1e9)
    assert summary["steps"] == 0 and "top1" not in summary and "warning" not in summary


def test_a_search_that_is_killed_between_rounds_goes_on_to_the_same_end(
    table, tmp_path, trained, monkeypatch
):
    whole, cut = whole_and_cut(_config(table), tmp_path, trained, monkeypatch, after=3)
    figures = [figures_of(tmp_path / name / "search/judged.json") for name in ("whole", "cut")]
    assert figures[0] == figures[1]
    assert cut["architecture"] == whole["architecture"]


def test_the_control_that_learns_nothing_trains_nothing_and_takes_any_network(table, tmp_path, trained):
    """Over seeds, what it takes is no better than what is within the budget; the search is."""
    resolution, within = _config(table).resolution, _within(table)
    mean = np.mean([from_string(text).macs(resolution, 10) for text in within])
    taken = []
    for seed in range(12):
        summary = run_search(str(tmp_path / str(seed)), _config(table, algorithm="random", seed=seed))
        assert "judged_top1" not in summary
        taken.append(summary["macs"])
    assert not trained
    assert len(set(taken)) > 1
    # Three standard errors of a mean of twelve.
    assert abs(np.mean(taken) - mean) < 3 * np.std(taken, ddof=1) / 12**0.5
    assert run_search(str(tmp_path / "searched"), _config(table))["macs"] > max(mean, np.mean(taken))


@pytest.mark.parametrize(
    ("changes", "schedule", "said"),
    [
        ({"judge_epochs": 0.0}, {}, "--search_epochs=0 shares no weights"),
        ({"judged_networks": 1, "judge_rounds": 1}, {}, "--judged_networks above 1, not 0, 0.5 and 1"),
        ({}, {"warmup_epochs": 1}, "needs --search_warmup_epochs=0"),
        ({"judged_networks": 1}, {"epochs": 1}, "--judge_rounds=3 needs --judged_networks above 1"),
        ({"judge_rounds": 0}, {}, "--judge_rounds must be at least 1, not 0"),
        ({}, {"epochs": -1}, "--search_epochs must be at least 0, not -1"),
    ],
)
def test_what_learns_nothing_is_refused(table, changes, schedule, said):
    config = _config(table, **changes)
    config = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, **schedule))
    with pytest.raises(UserError, match=said):
        check_problem(config)
