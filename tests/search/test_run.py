"""The search stage as a whole: what it writes, how it resumes, what it refuses."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf

from nas_tf.base import stopping
from nas_tf.base.errors import UserError
from nas_tf.base.metric_log import read_metrics
from nas_tf.data.config import NO_AUGMENTATION, DataConfig
from nas_tf.latency.table import load_table
from nas_tf.search import ending
from nas_tf.search import run as search_run
from nas_tf.search.config import Budget, SearchConfig, SearchSchedule
from nas_tf.search.problem import check_problem
from nas_tf.search.run import run_search
from nas_tf.search.state import SearchState
from nas_tf.space.architecture import from_json
from nas_tf.supernet.widening import beginnings

TARGET_MS = 0.2
STEPS = 7  # per epoch, of 193 images


def _config(table: str, **changes) -> SearchConfig:
    schedule = SearchSchedule(
        warmup_epochs=1, epochs=2, batch_size=32, alpha_learning_rate=0.1, alpha_every=2, held_out=0.1
    )
    config = SearchConfig(
        DataConfig("digits", train_split="train[:214]"),
        table,
        Budget(TARGET_MS),
        NO_AUGMENTATION,
        space="micro",
        resolution=16,
        schedule=schedule,
        num_candidates=3,
        drop_candidates=False,
    )
    return dataclasses.replace(config, **changes)


def _schedule(table: str, **changes) -> SearchConfig:
    config = _config(table)
    return dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, **changes))


@pytest.fixture(scope="module")
def finished(table, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    return workdir, run_search(str(workdir), _config(table))


def test_the_result_meets_the_target_by_the_table(table, finished):
    workdir, summary = finished
    architecture = from_json(json.loads((workdir / "search/architecture.json").read_text()))
    predicted = load_table(table).predict_ms(architecture, 16, 10)
    assert summary["predicted_latency_ms"] == pytest.approx(predicted)
    assert predicted <= summary["target_latency_ms"] == TARGET_MS
    assert summary["architecture"] == architecture.to_string()
    assert summary["params"] == architecture.params(10)
    assert summary["macs"] == architecture.macs(16, 10)
    assert summary["steps"] == 3 * STEPS and summary["seconds"] > 0


def test_candidates_are_listed_best_first_within_the_target(finished):
    candidates = json.loads((finished[0] / "search/candidates.json").read_text())
    assert len(candidates) == 3
    scores = [c["log_probability"] for c in candidates]
    assert scores == sorted(scores, reverse=True)
    assert all(c["predicted_latency_ms"] <= TARGET_MS for c in candidates)
    best = json.loads((finished[0] / "search/architecture.json").read_text())
    assert candidates[0]["architecture"] == best


def test_metrics_hold_a_line_per_epoch(finished):
    lines = read_metrics(finished[0] / "search")
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    for line in lines:
        assert {"loss", "top1", "entropy", "expected_latency_ms", "learning_rate"} <= line.keys()
        assert [len(row) for row in line["probabilities"]] == [2, 3]
        for row in line["probabilities"]:
            assert sum(row) == pytest.approx(1.0)
    # Alpha is frozen in the warm-up, and N(0, 1e-3) at the start.
    assert lines[0]["alpha_loss"] is None
    assert all(line["alpha_loss"] == pytest.approx(math.log(10), rel=0.2) for line in lines[1:])  # by chance
    np.testing.assert_allclose(lines[0]["probabilities"][0], 1 / 2, rtol=0.01)
    assert max(abs(p - 1 / 2) for p in lines[-1]["probabilities"][0]) > 0.005


def test_a_finished_run_is_returned_at_once(table, finished, monkeypatch):
    monkeypatch.setattr(search_run, "_search", None)
    assert run_search(str(finished[0]), _config(table)) == finished[1]


@pytest.mark.parametrize("kill_at", [pytest.param(2, marks=pytest.mark.slow), 3 * STEPS - 1])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(table, finished, tmp_path, monkeypatch, kill_at):
    step = SearchState.weight_step

    def killed(self, number, *rest):
        if number == kill_at:
            raise KeyboardInterrupt
        step(self, number, *rest)

    config = _config(table, checkpoint_minutes=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(SearchState, "weight_step", killed)
        with pytest.raises(KeyboardInterrupt):
            run_search(str(tmp_path), config)
    assert not (tmp_path / "search/summary.json").exists()
    resumed = run_search(str(tmp_path), config)
    expected = finished[1]
    for name in ("architecture", "steps", "predicted_latency_ms"):
        assert resumed[name] == expected[name]
    for name in ("log_probability", "expected_latency_ms", "entropy", "top1"):
        assert resumed[name] == pytest.approx(expected[name], rel=1e-5)
    for ours, theirs in zip(
        read_metrics(tmp_path / "search"), read_metrics(finished[0] / "search"), strict=True
    ):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["most_probable"] == theirs["most_probable"]
        for p, q in zip(ours["probabilities"], theirs["probabilities"]):
            np.testing.assert_allclose(p, q, rtol=1e-4)


def test_the_time_of_all_attempts_counts(table, tmp_path, monkeypatch, fake_time):
    """21 steps of 100 seconds, of which a kill loses the two since the last epoch."""

    def timed(self, number, *rest):
        if number == STEPS + 2 and len(done) == number:
            raise KeyboardInterrupt
        done.append(number)
        fake_time.seconds += 100
        step(self, number, *rest)

    done, step = [], SearchState.weight_step
    monkeypatch.setattr(SearchState, "weight_step", timed)
    config = _config(table, checkpoint_minutes=1000.0)  # only at the end of an epoch
    with pytest.raises(KeyboardInterrupt):
        run_search(str(tmp_path), config)
    assert run_search(str(tmp_path), config)["seconds"] == 100 * 3 * STEPS
    assert len(done) == 3 * STEPS + 2


def test_settings_of_older_runs_still_fit(table, finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    path = tmp_path / "run" / "search" / "settings.json"
    settings = json.loads(path.read_text())
    del settings["data"]["class_names"]
    path.write_text(json.dumps(settings))
    config = _config(table)
    moved = {"architecture_file": str(tmp_path / "run/search/architecture.json")}
    assert run_search(str(tmp_path / "run"), config) == finished[1] | moved
    ignoring = dataclasses.replace(config, data=dataclasses.replace(config.data, class_names="ignore"))
    with pytest.raises(UserError, match='data.class_names: there "match", asked "ignore"'):
        run_search(str(tmp_path / "run"), ignoring)


@pytest.mark.parametrize("kill_at", [pytest.param(STEPS - 1, marks=pytest.mark.slow), STEPS])
def test_a_run_killed_where_candidates_are_set_free_goes_on(table, tmp_path, monkeypatch, kill_at):
    config = _schedule(table, tied_epochs=1, epochs=1)
    config = dataclasses.replace(config, checkpoint_minutes=0.0)
    whole = run_search(str(tmp_path / "whole"), config)
    step = SearchState.weight_step

    def killed(self, number, *rest):
        if number == kill_at:
            raise KeyboardInterrupt
        step(self, number, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(SearchState, "weight_step", killed)
        with pytest.raises(KeyboardInterrupt):
            run_search(str(tmp_path / "killed"), config)
    run_search(str(tmp_path / "killed"), config)
    ours, theirs = (read_metrics(tmp_path / name / "search") for name in ("killed", "whole"))
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], rel=1e-5)
    assert json.loads((tmp_path / "killed/search/summary.json").read_text())["top1"] == pytest.approx(
        whole["top1"]
    )


def test_while_tied_only_the_smallest_candidates_move(table):
    problem = check_problem(_schedule(table, tied_epochs=1))
    state = SearchState(problem)
    others = [
        path
        for block in state.supernet.blocks
        for k, path in enumerate(block.paths)
        if path is not None and beginnings(block.choice)[k] != k
    ]
    before = [path.trained.numpy() for path in others]
    images = tf.zeros([8, 16, 16, 3], tf.uint8)
    for step in range(STEPS - 1):
        state.weight_step(step, images, tf.range(8, dtype=tf.int64), 0.1)
    for path, value in zip(others, before, strict=True):
        np.testing.assert_array_equal(path.trained, value)
    state.weight_step(STEPS - 1, images, tf.range(8, dtype=tf.int64), 0.1)
    for path, value in zip(others, before, strict=True):
        assert not np.allclose(path.trained, value)


def test_the_same_workdir_with_other_settings_is_refused(table, finished):
    with pytest.raises(UserError, match="holds a run with other settings"):
        run_search(str(finished[0]), _config(table, seed=1))


def test_weight_steps_never_see_the_held_out_images(table):
    problem = check_problem(_config(table))
    source = problem.source
    assert problem.alpha_part.size(214) == 21
    assert problem.alpha_part.positions == problem.weight_part.positions
    assert problem.weight_part.complement and not problem.alpha_part.complement
    assert source.part_size(problem.weight_part) == 193


@pytest.mark.parametrize(
    "algorithm, latency_loss, gate_mode",
    [
        ("gradient", "add_linear", "full"),
        ("gradient", "mul_log", "two"),
        ("reinforce", "mul_log", "two"),
        ("reinforce", "constrained", "two"),
    ],
)
def test_every_algorithm_runs_to_its_end(table, tmp_path, algorithm, latency_loss, gate_mode):
    config = _schedule(table, warmup_epochs=0, epochs=1, alpha_every=3)
    config = dataclasses.replace(
        config,
        algorithm=algorithm,
        latency_loss=latency_loss,
        gate_mode=gate_mode,
        budget=Budget(TARGET_MS, 8_000, 400_000),
    )
    summary = run_search(str(tmp_path), config)
    assert summary["predicted_latency_ms"] <= TARGET_MS
    assert summary["params"] <= 8_000 and summary["macs"] <= 400_000
    # Of the table: a budget is for these kernels.
    assert summary["kernels"] == "builtin" and summary["slow_entries"] == []


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"budget": Budget(0.01)}, r"--target_latency_ms=0.01 is below .* 0\.\d+ to \d\.\d+ ms"),
        ({"budget": Budget(99.0)}, r"--target_latency_ms=99 is above .* nothing to limit"),
        ({"budget": Budget(-1.0)}, "--target_latency_ms must be above 0, not -1"),
        ({"budget": Budget(0.0)}, "--target_latency_ms must be above 0, not 0"),
        ({"budget": Budget(TARGET_MS, params=10)}, "--max_params=10 is below the smallest"),
        ({"budget": Budget(TARGET_MS, macs=10**9)}, "--max_macs=1e.09 is above the largest"),
        ({"resolution": 32}, "does not fit this search: resolution 16 there, 32 asked"),
        ({"space": "small"}, "does not fit this search: space micro there, small asked"),
        ({"width_multiplier": 0.5}, "does not fit this search: width_multiplier 1.0 there, 0.5"),
        ({"latency_table": "nowhere.json"}, "There is no latency table 'nowhere.json'"),
        ({"gate_mode": "three"}, "--gate_mode='three'; allowed: full, two"),
        ({"num_candidates": 0}, "--num_candidates must be at least 1, not 0"),
        ({"data": DataConfig("digits", train_split="train[:5]")}, "--search_held_out=0.1: "),
        ({"data": DataConfig("digits", train_split="train[:99]+test[:9]")}, "train_split.*eval_split"),
        (
            {"data": DataConfig("digits", train_split="train[:214]", resize_size=12)},
            "at least the resolution .16 pixels.*not to 12",
        ),
    ],
)
def test_bad_input_is_refused_before_any_work(table, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        run_search(str(tmp_path / "run"), _config(table, **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"held_out": 5000}, "--search_held_out=5000: Cannot hold out 5000 of the 214 images"),
        ({"epochs": 0}, "--search_epochs=0 shares no weights"),
        ({"alpha_every": 0}, "--search_alpha_every must be at least 1"),
        ({"tied_epochs": 2}, "--search_tied_epochs must be 0 to the 1 epochs of .*, not 2"),
        ({"tied_epochs": -1}, "--search_tied_epochs must be 0 to the 1 epochs of .*, not -1"),
    ],
)
def test_a_bad_schedule_is_refused(table, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        run_search(str(tmp_path / "run"), _schedule(table, **changes))


def test_the_rate_is_one_cosine_in_each_phase(table):
    problem = check_problem(_schedule(table, warmup_epochs=2, epochs=3))
    steps = problem.steps_per_epoch
    rate = [search_run.learning_rate(problem, step) for step in range(problem.total_steps)]
    assert rate[0] == 0.05 and rate[steps] == pytest.approx(0.025)  # half of the warm-up
    assert rate[2 * steps] == 0.025
    assert rate[2 * steps - 1] < 0.01 and rate[-1] < 0.002
    assert all(a > b for a, b in zip(rate[2 * steps :], rate[2 * steps + 1 :]))


def _files(workdir) -> list:
    summary = json.loads((workdir / "search/summary.json").read_text())
    summary = {k: v for k, v in summary.items() if k not in ("seconds", "architecture_file")}
    return [
        summary,
        read_metrics(workdir / "search"),
        (workdir / "search/architecture.json").read_bytes(),
        (workdir / "search/candidates.json").read_bytes(),
    ]


@pytest.mark.parametrize(
    "step", [pytest.param(2, marks=pytest.mark.slow), STEPS, pytest.param(3 * STEPS, marks=pytest.mark.slow)]
)
def test_sigterm_saves_first_and_loses_no_step(table, finished, tmp_path, monkeypatch, sigterm, step):
    original, taken = SearchState.weight_step, []

    def asked_to_end(self, number, *rest):
        original(self, number, *rest)
        taken.append(number)
        if len(taken) == step:
            sigterm()

    monkeypatch.setattr(SearchState, "weight_step", asked_to_end)
    with pytest.raises(stopping.Terminated):
        run_search(str(tmp_path), _config(table))
    assert (tmp_path / "search/checkpoint" / f"ckpt-{step}.index").exists()
    monkeypatch.setattr(stopping._State, "asked", False)
    run_search(str(tmp_path), _config(table))
    assert taken == list(range(3 * STEPS))
    assert _files(tmp_path) == _files(finished[0])


@pytest.mark.parametrize(
    "name", [pytest.param("ckpt-21.index", marks=pytest.mark.slow), "ckpt-21.data-00000-of-00001"]
)
def test_a_damaged_checkpoint_costs_its_steps_and_nothing_else(table, finished, tmp_path, capsys, name):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / "search/summary.json").unlink()
    (tmp_path / "search/checkpoint" / name).write_bytes(b"")
    run_search(str(tmp_path), _config(table))
    assert f"search: CHECKPOINT DAMAGED: {name} is not what was written" in (said := capsys.readouterr().err)
    assert f"from step 21 to step 14, so {STEPS} steps are done again" in said
    assert _files(tmp_path) == _files(finished[0])


def test_a_search_at_a_rate_of_100_stops_and_says_what_to_change(table, tmp_path):
    config = _schedule(table, warmup_learning_rate=100.0, learning_rate=100.0)
    for _ in range(2):  # taken up again it stops again
        with pytest.raises(
            UserError, match=r"use a smaller --search_learning_rate or --search_warmup_learning_rate"
        ):
            run_search(str(tmp_path), config)
    assert not (tmp_path / "search/summary.json").exists()


def test_alpha_that_leaves_out_all_it_can_is_said(table, finished, tmp_path):
    """The second of the two blocks can be left out, by its third candidate."""
    problem = check_problem(_config(table))
    log_p = np.log([[0.6, 0.4, 1e-9], [0.2, 0.2, 0.6]])
    said = ending.collapsed(problem, log_p)["warning"]
    assert "alpha leaves out all 1 blocks that can be left out" in said and "--target_latency_ms" in said
    assert ending.collapsed(problem, np.log([[0.6, 0.4, 1e-9], [0.5, 0.2, 0.3]])) == {}
