"""Networks drawn from what a search learned: where they come from, and which of them is taken."""

import dataclasses
import gc
import itertools
import json
import weakref

import numpy as np
import pytest
import tf_keras as keras

from nas_tf.base.errors import UserError
from nas_tf.data.preprocess import to_network_input
from nas_tf.distribute.shards import Shards
from nas_tf.distribute.workers import ALONE
from nas_tf.network.build import build_network
from nas_tf.search import ending, judging_alone
from nas_tf.search.derivation import most_probable
from nas_tf.search.gates import log_probabilities
from nas_tf.search.judging import drawn_networks
from nas_tf.search.objective import Resource
from nas_tf.search.part_images import training_images
from nas_tf.search.problem import check_problem
from nas_tf.search.run import run_search
from nas_tf.search.shared_weights import SharedWeights
from nas_tf.space.architecture import from_string
from tests.search.helpers import all_choices
from tests.search.test_run import _schedule


def all_fit(choices):
    return np.ones(len(choices), bool)


def test_without_limits_networks_are_drawn_as_probably_as_they_are():
    log_p = log_probabilities(np.array([[0.0, 1.0, -np.inf], [0.5, -0.5, 0.0]]))
    counts = dict.fromkeys(itertools.product(range(2), range(3)), 0)
    draws = 1000
    for seed in range(draws):
        # The first is the most probable one; the second is drawn, and is another.
        first, second = drawn_networks(lambda p: most_probable(p, [])[0], all_fit, log_p, 2, seed)
        assert tuple(first) == (1, 0)
        counts[tuple(second)] += 1
    p = {k: float(np.exp(log_p[0, k[0]] + log_p[1, k[1]])) for k in counts}
    rest = 1 - p[1, 0]
    for k, count in counts.items():
        expected = 0.0 if k == (1, 0) else p[k] / rest
        # Five standard deviations of a binomial share.
        assert count / draws == pytest.approx(expected, abs=5 * np.sqrt(0.25 / draws))


def test_all_that_are_drawn_keep_the_limits_and_differ():
    rng = np.random.default_rng(0)
    cost = Resource("latency_ms", rng.uniform(0.1, 1.0, (5, 4)), 0.0, 2.5)
    log_p = log_probabilities(rng.normal(size=(5, 4)))

    def fits(choices):
        return np.array([cost.of(choice) <= cost.limit for choice in choices])

    found = drawn_networks(lambda p: most_probable(p, [cost])[0], fits, log_p, 20, 0)
    assert len({tuple(choice) for choice in found}) == 20
    assert all(cost.of(choice) <= cost.limit for choice in found)
    np.testing.assert_array_equal(found[0], most_probable(log_p, [cost])[0])


def test_within_limits_networks_are_drawn_as_probably_as_they_are_among_those_within():
    """Also after a tilt towards cheap candidates, which is the same for all that cost the same."""
    costs = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    resource = Resource("latency_ms", costs, 0.0, 4.0)
    # Of the nine networks (1, 3), (2, 2) and (3, 1) cost 4; without the tilt all would be alike.
    log_p = log_probabilities(-2.0 * costs)

    def fits(choices):
        return np.isclose(costs[[0, 1], choices].sum(axis=1), 4.0)

    counts = {(0, 2): 0, (1, 1): 0, (2, 0): 0}
    for seed in range(600):
        # The first is the program's; of the other two one is drawn before the other.
        first, second = drawn_networks(
            lambda p: most_probable(p, [resource], least_share=1.0)[0], fits, log_p, 2, seed
        )
        counts[tuple(second)] += 1
    drawn = sorted(counts.values())
    assert drawn[0] == 0 and drawn[1] == pytest.approx(300, abs=5 * np.sqrt(600 * 0.25))


def test_where_hardly_any_fit_they_come_from_the_program():
    cost = Resource("latency_ms", np.tile([1.0, 2.0], (20, 1)), 0.0, 20.0)
    log_p = log_probabilities(np.tile([0.0, 9.0], (20, 1)))  # the only one that fits is never drawn
    [found] = drawn_networks(
        lambda p: most_probable(p, [cost])[0], lambda c: (c == 0).all(axis=1), log_p, 3, 0
    )
    assert not found.any()


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_what_fits_is_what_can_be_derived(table, share):
    problem = check_problem(dataclasses.replace(_schedule(table, epochs=1), min_budget_share=share))
    choices = np.array(list(all_choices(problem.offered)))
    latency = np.array([problem.resources[0].of(choice) for choice in choices])
    limit = problem.resources[0].limit
    expected = (latency <= limit) & (latency >= problem.least_share * limit)
    np.testing.assert_array_equal(problem.fits(choices), expected)
    assert 0 < expected.sum() < len(expected)


def test_fewer_come_back_where_there_are_no_more():
    log_p = log_probabilities(np.zeros((2, 2)))
    assert len(drawn_networks(lambda p: most_probable(p, [])[0], all_fit, log_p, 9, 0)) == 4


def test_the_best_on_held_out_images_is_the_result(table, tmp_path, monkeypatch):
    """With an accuracy that is made up, for which small networks are the best."""
    config = dataclasses.replace(_schedule(table, epochs=1), judged_networks=6, min_budget_share=0.0)
    problem = check_problem(config)
    params = {
        tuple(choice): problem.architecture(choice).params(10)
        for choice in all_choices(problem.offered)
        if problem.resources[0].of(choice) <= config.budget.latency_ms
    }
    assert len(params) > 1
    monkeypatch.setattr(ending, "held_out_accuracy", lambda _, __, choice: 1 / params.get(tuple(choice), 1))
    summary = run_search(str(tmp_path / "a"), config)
    assert summary["params"] == min(params.values())
    listed = json.loads((tmp_path / "a/search/candidates.json").read_text())
    assert len(listed) == 3 and listed[0]["params"] == summary["params"]
    assert json.loads((tmp_path / "a/search/architecture.json").read_text()) == listed[0]["architecture"]


def test_shared_weights_of_a_search_judge_as_it_did_itself(table, tmp_path):
    config = _schedule(table, epochs=1)
    summary = run_search(str(tmp_path), config)
    shared = SharedWeights(str(tmp_path), config)
    assert shared.top1_of(summary["architecture"]) == summary["top1"]
    with pytest.raises(UserError, match="is not of the space 'micro'"):
        shared.top1_of(summary["architecture"].replace("h64", "h72"))
    with pytest.raises(UserError, match="is not of the space 'micro'"):
        shared.top1_of("s8x2 1_3c8 4_3c16 h64")


def _judging(table, **changes):
    config = dataclasses.replace(_schedule(table, epochs=1), judged_networks=4, judge_epochs=0.5)
    return dataclasses.replace(config, **changes)


def test_networks_that_learn_best_alone_are_taken_and_a_killed_run_goes_on(table, tmp_path, monkeypatch):
    """With made-up shares: the fewest parameters win. Killed before the third, the first two stay judged."""
    trained: list[str] = []

    def made_up(problem, network, *_):
        if len(trained) == 2 and killed:
            raise KeyboardInterrupt
        trained.append(network.to_string())
        return 1 / network.params(10)

    killed = True
    monkeypatch.setattr(judging_alone, "_train_alone", made_up)
    config = _judging(table, min_budget_share=0.0)
    with pytest.raises(KeyboardInterrupt):
        run_search(str(tmp_path), config)
    noted = json.loads((tmp_path / "search/judged.json").read_text())
    assert list(noted) == trained and len(trained) == 2
    killed = False
    # As if the first attempt's networks had taken an hour each.
    (tmp_path / "search/judged.json").write_text(
        json.dumps({text: network | {"seconds": 3600} for text, network in noted.items()})
    )
    summary = run_search(str(tmp_path), config)
    assert 7200 < summary["seconds"] < 7200 + 600, "all attempts count, what was judged once"
    assert len(trained) == len(set(trained)) == 4, "none was trained twice"
    assert summary["params"] == min(from_string(text).params(10) for text in trained)


def test_what_counts_is_what_was_right_before_it_was_trained_on(table, tmp_path):
    """At a rate of next to nothing: the untrained network's accuracy on the last quarter of the batches."""
    config = _judging(table)
    config = dataclasses.replace(
        config, schedule=dataclasses.replace(config.schedule, warmup_learning_rate=1e-12)
    )
    problem = check_problem(config)
    choice = next(iter(all_choices(problem.offered)))

    def batches():
        return training_images(problem, problem.weight_part, 0, Shards(1))

    trial = judging_alone.first_part(config)
    [found] = judging_alone.judged_alone(problem, [choice], trial, Shards(1), ALONE, tmp_path / "judged.json")
    steps = round(0.5 * problem.steps_per_epoch)
    keras.utils.set_random_seed(config.seed)
    model = build_network(problem.architecture(choice), config.resolution, 10)
    right = images = 0
    for step, (pixels, labels) in enumerate(itertools.islice(batches(), steps)):
        if step >= int(0.75 * steps):
            logits = model(to_network_input(pixels), training=True)
            right += int((logits.numpy().argmax(axis=1) == labels.numpy()).sum())
            images += len(labels)
    assert images and found == pytest.approx(right / images)


def test_a_network_that_was_judged_is_gone_before_the_next_one_is_built(table, tmp_path, monkeypatch):
    """Without Python's own collection of cycles, which comes when it comes."""
    alive: list[int] = []
    built: list[weakref.ref] = []

    def noted(*arguments):
        alive.append(sum(model() is not None for model in built))
        model = build_network(*arguments)
        built.append(weakref.ref(model))
        return model

    monkeypatch.setattr(judging_alone, "build_network", noted)
    config = _judging(table, min_budget_share=0.0, judge_epochs=0.1)
    problem = check_problem(config)
    choices = list(all_choices(problem.offered))[:3]
    trial = judging_alone.first_part(config)
    gc.disable()
    try:
        judging_alone.judged_alone(problem, choices, trial, Shards(1), ALONE, tmp_path / "judged.json")
    finally:
        gc.enable()
    assert alive == [0, 0, 0]


def test_more_than_an_epoch_is_refused(table):
    with pytest.raises(UserError, match="--judge_epochs must be 0 to 1"):
        check_problem(_judging(table, judge_epochs=1.5))
