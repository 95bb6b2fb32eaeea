"""The best of the judged networks, trained again: which they are, which is taken, and a killed search."""

import math

import pytest

from nas_tf.base.errors import UserError
from nas_tf.search import judging_alone
from nas_tf.search.problem import check_problem
from nas_tf.search.run import run_search
from nas_tf.space.architecture import from_string
from tests.search.alone import figures_of, whole_and_cut, without_shared_weights
from tests.search.test_run import _schedule


def _config(table, **changes):
    """Of four networks two are trained again."""
    settings = {"judged_networks": 4, "finalists": 2, "finalist_epochs": 2.0} | changes
    return without_shared_weights(_schedule(table, epochs=1), **settings)


@pytest.fixture
def trained(monkeypatch):
    """Networks by the epochs that they were trained; more parameters look good first, and bad in the end."""
    found = []

    def made_up(problem, network, trial, *_):
        found.append((trial.epochs, network.to_string()))
        params = network.params(10)
        return 1 / params if trial.lowered else params / 1e9

    monkeypatch.setattr(judging_alone, "_train_alone", made_up)
    return found


def test_only_the_best_are_trained_again_and_the_best_of_these_is_taken(table, tmp_path, trained):
    summary = run_search(str(tmp_path), _config(table))
    judged = [text for epochs, text in trained if epochs == 0.5]
    again = [text for epochs, text in trained if epochs == 2.0]
    params = {text: from_string(text).params(10) for text in judged}
    best_first = sorted(params, key=lambda text: -params[text])
    assert len(judged) == 4 and len(set(params.values())) > 2
    assert again == best_first[:2]
    assert summary["architecture"] == best_first[1], "what was only second before it was trained again"
    assert summary["finalist_top1"] == 1 / params[best_first[1]] and "judged_top1" not in summary


def test_a_search_that_is_killed_in_the_final_goes_on_to_the_same_end(table, tmp_path, trained, monkeypatch):
    whole, cut = whole_and_cut(_config(table), tmp_path, trained, monkeypatch, after=5)
    assert cut["architecture"] == whole["architecture"]
    figures = [figures_of(tmp_path / name / "search/finalists.json") for name in ("whole", "cut")]
    assert figures[0] == figures[1] and len(figures[0]) == 2


def test_the_control_that_learns_nothing_trains_no_finalist(table, tmp_path, trained):
    summary = run_search(str(tmp_path), _config(table, algorithm="random"))
    assert not trained and "finalist_top1" not in summary


def test_the_rate_is_lowered_to_nothing_in_a_whole_training_and_held_in_a_first_part(table):
    """Rise over a tenth; then half a period of a cosine: half the rate in its middle."""
    whole, part = judging_alone.whole_training(_config(table)), judging_alone.first_part(_config(table))
    for trial in (whole, part):
        assert trial.rate(0, 100, 0.2) == pytest.approx(0.02)
        assert trial.rate(9, 100, 0.2) == pytest.approx(0.2)
    assert whole.rate(55, 100, 0.2) == pytest.approx(0.1)
    # 0.2 / 2 · (1 + cos(π · 89 / 90))
    assert whole.rate(99, 100, 0.2) == pytest.approx(0.1 * (1 + math.cos(math.pi * 89 / 90)))
    assert part.rate(55, 100, 0.2) == part.rate(99, 100, 0.2) == pytest.approx(0.2)


def test_finalists_learn_more_than_they_did_in_a_part_of_an_epoch(table, tmp_path):
    """Really trained, on images with something to learn; each for all of its epochs."""
    summary = run_search(str(tmp_path), _config(table, finalist_epochs=4.0))
    judged = figures_of(tmp_path / "search/judged.json")
    finalists = figures_of(tmp_path / "search/finalists.json")
    assert set(finalists) <= set(judged) and len(finalists) == 2
    assert summary["finalist_top1"] == finalists[summary["architecture"]] == max(finalists.values())
    assert all(finalists[text] > judged[text] for text in finalists)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"finalists": 1}, "--finalists must be 0 or 2 to the 4 networks"),
        ({"finalists": 5}, "--finalists must be 0 or 2 to the 4 networks"),
        ({"finalist_epochs": 0.0}, "--finalists=2 with --finalist_epochs=0"),
        ({"finalist_epochs": -1.0}, "--finalists=2 with --finalist_epochs=-1"),
        ({"finalists": 0}, "--finalists=0 with --finalist_epochs=2"),
    ],
)
def test_a_final_that_decides_nothing_is_refused(table, changes, said):
    with pytest.raises(UserError, match=said):
        check_problem(_config(table, **changes))
