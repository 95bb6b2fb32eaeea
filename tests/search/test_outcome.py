"""When a search's end is doubted: undecided alpha and unused budgets."""

import numpy as np
import pytest

from export.pipeline_run import facts_for_people
from nas_tf.base.run_folder import DOUBTS
from nas_tf.search.outcome import not_converged, unused_budget


def log_of(rows):
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows, np.float64))


def test_uniform_alpha_has_not_converged():
    offered = np.ones((3, 4), bool)
    said = not_converged(log_of(np.full((3, 4), 0.25)), offered)
    assert list(said) == ["not_converged"]
    assert (
        "in 3 of 3 blocks" in said["not_converged"] and "largest probabilities 0.25" in said["not_converged"]
    )
    assert "more --search_epochs" in said["not_converged"]


def test_half_of_the_blocks_may_be_undecided():
    decided, open_ = [0.6, 0.3, 0.1], [0.5, 0.3, 0.2]
    offered = np.ones((4, 3), bool)
    assert not_converged(log_of([decided, decided, open_, open_]), offered) == {}
    said = not_converged(log_of([decided, open_, open_, open_]), offered)["not_converged"]
    # (0.6 + 3 · 0.5) / 4
    assert "in 3 of 4 blocks" in said and "largest probabilities 0.5" in said


def test_blocks_without_a_choice_do_not_count():
    """Two decided by having nothing else; of the two with a choice both are open."""
    offered = np.array([[True, False], [True, False], [True, True], [True, True]])
    said = not_converged(log_of([[1, 0], [1, 0], [0.5, 0.5], [0.4, 0.6]]), offered)
    assert said == {}
    said = not_converged(log_of([[1, 0], [1, 0], [0.5, 0.5], [0.5, 0.5]]), offered)
    assert "in 2 of 2 blocks" in said["not_converged"]
    assert not_converged(log_of([[1, 0]] * 4), np.array([[True, False]] * 4)) == {}


@pytest.mark.parametrize(
    "used, share, doubted", [(9.5, 0, False), (9.49, 0, True), (8.0, 0.8, False), (7.9, 0.8, True)]
)
def test_a_budget_counts_as_used_from_95_percent_or_what_is_asked(used, share, doubted):
    assert bool(unused_budget(used, 10, 20, share, "budget")) is doubted


def test_what_to_change_depends_on_why():
    free = unused_budget(6, 10, 20, 0.0, "argmax")["unused_budget"]
    assert free.startswith("the network takes 6 ms, 60.0% of the budget of 10 ms; a larger network may")
    assert "--min_budget_share=0.95 with --derive=budget" in free
    small = unused_budget(6, 10, 6, 0.95, "budget")["unused_budget"]
    assert small.startswith(
        "no network uses 95% of the budget or more, as --min_budget_share asks; 60.0% is used; "
    )
    assert "the slowest network of the space takes 6 ms, so use a larger --space" in small
    assert "use another --target_latency_ms" in unused_budget(6, 10, 20, 0.95, "budget")["unused_budget"]


def test_the_pipeline_tells_them_at_its_end():
    summary = {
        "search": {"predicted_latency_ms": 1.0, "target_latency_ms": 2.0, "unused_budget": "half; use more"},
        "train": {"warning": "nothing learned"},
        "finetune": {"float_top1": 0.1},
        "convert": {"output": "m", "bytes": 1},
        "evaluate": {"top1": 0.1, "num_examples": 10, "background_predictions": 0},
        "benchmark": {"median_ms": 1.0, "device": "x"},
        "report": "r",
        "seconds": 1.0,
    }
    facts = facts_for_people(summary)
    assert facts["search, unused budget"] == "half; use more" and facts["train, warning"] == "nothing learned"
    assert set(DOUBTS) == {"warning", "not_converged", "unused_budget"}
