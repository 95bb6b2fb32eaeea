"""What the real search hands to its steps: which images, which rate, which gradient, which draws."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from nas_tf.base.clock import Clock
from nas_tf.base.errors import UserError
from nas_tf.base.run_folder import StageFolder
from nas_tf.data import batches
from nas_tf.data.config import NO_AUGMENTATION, Augmentation, DataConfig
from nas_tf.network.build import build_network
from nas_tf.search import run as search_run
from nas_tf.search import state as search_state
from nas_tf.search.architecture_parameters import ArchitectureParameters
from nas_tf.search.config import Budget, SearchConfig, SearchSchedule
from nas_tf.search.problem import check_problem
from nas_tf.search.state import SearchState

TARGET_MS, STEPS = 0.2, 7  # steps per epoch, of 193 images
JITTER = Augmentation(1.0, True, 0.4)


def config(table: str, schedule: dict | None = None, **changes) -> SearchConfig:
    values = {"warmup_epochs": 1, "epochs": 2, "batch_size": 32, "alpha_every": 2, "held_out": 0.1} | (
        schedule or {}
    )
    base = SearchConfig(
        DataConfig("digits", train_split="train[:214]"),
        table,
        Budget(TARGET_MS),
        NO_AUGMENTATION,
        space="micro",
        resolution=16,
        schedule=SearchSchedule(**values),
        # The budget leaves no network with 6_5 in the second block; these tests are of whole blocks.
        drop_candidates=False,
    )
    return dataclasses.replace(base, **changes)


class Recorder:
    """Notes what the two kinds of step were given, in order, and lets them work."""

    def __init__(self, patch, work: bool = True):
        self.calls: list[dict] = []
        self._weight, self._gates = search_state.weight_step, search_state.gate_gradients
        self._work = work
        patch.setattr(search_state, "weight_step", self.weight_step)
        patch.setattr(search_state, "gate_gradients", self.gate_gradients)

    def weight_step(self, steps, optimizer, images, labels, active, rate, smoothing, shards):
        self.calls.append(
            {
                "kind": "weight",
                "images": images,
                "labels": labels,
                "rate": rate,
                "active": np.array(active),
                "smoothing": smoothing,
                "weight_decay": optimizer.weight_decay,
            }
        )
        if not self._work:
            return 1.0, 0.0
        return self._weight(steps, optimizer, images, labels, active, rate, smoothing, shards)

    def gate_gradients(self, steps, images, labels, involved, active, shards):
        result = (
            (1.0, 0.0, np.zeros(involved.shape))
            if not self._work
            else self._gates(steps, images, labels, involved, active, shards)
        )
        self.calls.append(
            {
                "kind": "alpha",
                "images": images,
                "labels": labels,
                "involved": involved,
                "active": np.array(active),
                "gradient": result[2],
            }
        )
        return result

    def of(self, kind: str) -> list[dict]:
        return [call for call in self.calls if call["kind"] == kind]


def searched(config_, monkeypatch, tmp_path, work: bool = False):
    recorder = Recorder(monkeypatch, work)
    problem = check_problem(config_)
    search(problem, tmp_path)
    return problem, recorder


def search(problem, folder) -> None:
    """Runs a search, or goes on with it, without what comes before and after."""
    folder.mkdir(exist_ok=True)
    search_run._search(problem, SearchState(problem), StageFolder(folder), Clock())


def pictures(images) -> list[bytes]:
    """Each image of a batch, of uint8 or as network input, as bytes."""
    values = np.asarray(images)
    if values.dtype != np.uint8:
        values = np.round(values * 128 + 128).astype(np.uint8)
    return [image.tobytes() for image in values]


def all_pictures(problem, part) -> dict[bytes, int]:
    """Every image of a part as evaluation sees it, with its label."""
    found = {}
    for images, labels in batches.evaluation_batches(problem.source, part, 64, 16):
        found |= dict(zip(pictures(images), labels.numpy().tolist()))
    return found


@pytest.mark.parametrize("augmentation", [NO_AUGMENTATION, JITTER])
def test_each_kind_of_step_sees_its_own_images(table, monkeypatch, tmp_path, augmentation):
    problem, recorder = searched(config(table, augmentation=augmentation), monkeypatch, tmp_path)
    own = all_pictures(problem, problem.weight_part)
    held_out = all_pictures(problem, problem.alpha_part)
    assert len(own) > 180 and len(held_out) == 21 and not own.keys() & held_out.keys()
    seen_by_weights, seen_by_alpha = set(), set()
    for call in recorder.of("weight"):
        seen_by_weights |= set(pictures(call["images"]))
    for call in recorder.of("alpha"):
        # As they are, whatever is done to the images that the weights see; with their labels.
        for picture, label in zip(pictures(call["images"]), call["labels"].numpy().tolist()):
            assert held_out[picture] == label
        seen_by_alpha |= set(pictures(call["images"]))
    assert seen_by_alpha == held_out.keys()
    assert not seen_by_weights & held_out.keys()
    if augmentation is NO_AUGMENTATION:
        assert seen_by_weights == own.keys()
    else:
        assert len(seen_by_weights & own.keys()) < 0.1 * len(own)


def test_rates_fall_by_one_cosine_in_each_phase(table, monkeypatch, tmp_path):
    _, recorder = searched(
        config(table, {"warmup_learning_rate": 0.4, "learning_rate": 0.1}), monkeypatch, tmp_path
    )
    wanted = [0.2 * (1 + math.cos(math.pi * t / STEPS)) for t in range(STEPS)]
    wanted += [0.05 * (1 + math.cos(math.pi * t / (2 * STEPS))) for t in range(2 * STEPS)]
    assert [call["rate"] for call in recorder.of("weight")] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("every", [2, 3])
def test_an_architecture_step_follows_every_few_weight_steps_of_the_joint_phase(
    table, monkeypatch, tmp_path, every
):
    _, recorder = searched(config(table, {"alpha_every": every}), monkeypatch, tmp_path)
    wanted = ["weight"] * STEPS
    for step in range(1, 2 * STEPS + 1):
        wanted += ["weight"] + ["alpha"] * (step % every == 0)
    assert [call["kind"] for call in recorder.calls] == wanted


def _plain_network(state, problem, active) -> keras.Model:
    """The compact network with the supernet's values."""
    model = build_network(problem.architecture(active), 16, 10)
    paths = state.supernet.active_paths(active)
    values = [v for path in paths for v in path.kind.chain.unpack(path.trained)]
    for target, source in zip(model.trainable_weights, values, strict=True):
        target.assign(source)
    return model


def test_a_weight_step_descends_the_smoothed_loss_with_decay(table, monkeypatch):
    """Against Keras: decay and smoothing so strong that leaving either out is seen."""
    decay, smoothing, rate = 0.05, 0.4, 0.1
    problem = check_problem(config(table, {"weight_decay": decay, "label_smoothing": smoothing}))
    state, recorder = SearchState(problem), Recorder(monkeypatch)
    before = {path.name: path.trained.numpy() for path in state.supernet.all_paths()}
    images, labels = next(iter(batches.evaluation_batches(problem.source, problem.weight_part, 32, 16)))
    state.weight_step(0, images, labels, rate)
    active = recorder.calls[0]["active"]
    after = [v for path in state.supernet.active_paths(active) for v in path.kind.chain.unpack(path.trained)]
    for path in state.supernet.all_paths():  # back, to build the network as it was
        path.trained.assign(before[path.name])
    model = _plain_network(state, problem, active)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(
            keras.losses.categorical_crossentropy(
                tf.one_hot(labels, 10),
                model((tf.cast(images, tf.float32) - 128) / 128, training=True),
                from_logits=True,
                label_smoothing=smoothing,
            )
        )
    assert state.figures()["loss"] == pytest.approx(float(loss), rel=1e-4)
    gradients = tape.gradient(loss, model.trainable_weights)
    for weight, gradient, found in zip(model.trainable_weights, gradients, after, strict=True):
        # The first step of Nesterov's momentum: m = g, w ← w − η (g + 0.9 m)
        total = gradient + (decay * weight if weight.shape.rank > 1 else 0.0)
        np.testing.assert_allclose(found, weight - 1.9 * rate * total, atol=2e-5)


def test_draws_follow_the_probabilities(table, monkeypatch):
    state, recorder = (
        SearchState(check_problem(config(table, gate_mode="full"))),
        Recorder(monkeypatch, work=False),
    )
    p = np.array([[0.8, 0.2, 0.0], [0.5, 0.2, 0.3]])
    alpha = np.log(np.maximum(p, 1e-30))
    blank = tf.zeros([2, 16, 16, 3], tf.uint8), tf.zeros([2], tf.int64)
    number = 1200
    for step in range(number):
        state.parameters.alpha.assign(np.where(state.parameters.offered, alpha, 0.0))
        state.weight_step(step, *blank, 0.1)
        state.alpha_step(step, *blank)
    for kind in ("weight", "alpha"):
        drawn = np.array([call["active"] for call in recorder.of(kind)])
        for b, k in np.argwhere(state.parameters.offered):
            # Four standard deviations of a binomial share.
            bound = 4 * math.sqrt(p[b, k] * (1 - p[b, k]) / number)
            assert np.mean(drawn[:, b] == k) == pytest.approx(p[b, k], abs=bound), (kind, b, k)
    # The two kinds draw apart: equal in one of two blocks as often as chance has it.
    same = np.mean(
        [
            np.array_equal(w["active"], a["active"])
            for w, a in zip(recorder.of("weight"), recorder.of("alpha"))
        ]
    )
    chance = (p[0] ** 2).sum() * (p[1] ** 2).sum()
    assert same == pytest.approx(chance, abs=4 * math.sqrt(chance / number))


@pytest.mark.parametrize("mode", ["full", "two"])
def test_alpha_descends_the_gates_gradient_and_the_latency(table, monkeypatch, mode):
    problem = check_problem(config(table, gate_mode=mode, latency_loss="add_linear"))
    state, recorder = SearchState(problem), Recorder(monkeypatch)
    alpha = np.where(problem.offered, [[0.4, -0.7, 0.0], [0.9, -0.2, -0.6]], -np.inf)
    given = []
    monkeypatch.setattr(
        ArchitectureParameters,
        "apply_gradient",
        lambda self, gradient, involved: given.append((gradient, involved)),
    )
    images, labels = next(iter(batches.evaluation_batches(problem.source, problem.alpha_part, 21, 16)))
    latency = problem.resources[0]
    for step in range(6):
        state.parameters.alpha.assign(np.where(problem.offered, alpha, 0.0))
        state.alpha_step(step, images, labels)
        call, (gradient, moved) = recorder.calls[-1], given[-1]
        np.testing.assert_array_equal(moved, call["involved"])
        if mode == "two":
            assert (call["involved"].sum(axis=1) == 2).all()
            assert call["involved"][np.arange(2), call["active"]].all()
        else:
            np.testing.assert_array_equal(call["involved"], problem.offered)
        assert np.abs(call["gradient"]).max() > 1e-4
        for b, row in enumerate(call["involved"]):
            inside = np.flatnonzero(row)
            # p over the involved; ∂L/∂α_i = Σ_j (∂L/∂g_j + λ cost_j / T) · p_j (δ_ij − p_i)
            weights = [math.exp(alpha[b, k]) for k in inside]
            p = dict(zip(inside, np.array(weights) / sum(weights)))
            for i in inside:
                wanted = sum(
                    (call["gradient"][b, j] + 0.1 * latency.costs[b, j] / TARGET_MS)
                    * p[j]
                    * ((i == j) - p[i])
                    for j in inside
                )
                assert gradient[b, i] == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_alpha_descends_the_policy_gradient(table, monkeypatch):
    """What REINFORCE says is the gradient goes through the objective into alpha with its sign."""
    problem = check_problem(config(table, algorithm="reinforce", latency_loss="constrained"))
    state, given = SearchState(problem), []
    policy = np.where(problem.offered, [[0.3, -0.3, 0.0], [0.1, -0.4, 0.3]], 0.0)
    monkeypatch.setattr(state.reinforce, "gradient", lambda *arguments: (1.5, policy))
    monkeypatch.setattr(
        state.objective, "gradient", lambda loss, gradient, *p: given.append(loss) or gradient
    )
    before = state.parameters.values()
    images, labels = next(iter(batches.evaluation_batches(problem.source, problem.alpha_part, 21, 16)))
    state.alpha_step(0, images, labels)
    moved = np.where(problem.offered, state.parameters.values() - before, 0.0)
    np.testing.assert_array_equal(np.sign(moved), -np.sign(policy))
    assert given == [1.5] and state.figures()["alpha_loss"] == 1.5


def test_a_resumed_search_sees_the_images_that_come_next(table, monkeypatch, tmp_path):
    settings = config(table, checkpoint_minutes=0.0)
    _, whole = searched(settings, monkeypatch, tmp_path / "whole")

    class Killed(BaseException):
        """Stands for a kill: nothing in the code catches it."""

    recorder = Recorder(monkeypatch, work=False)
    step = SearchState.weight_step

    def killed(self, number, *rest):
        if number == 2 * STEPS + 3:
            raise Killed
        step(self, number, *rest)

    problem = check_problem(settings)
    with monkeypatch.context() as patch:
        patch.setattr(SearchState, "weight_step", killed)
        with pytest.raises(Killed):
            search(problem, tmp_path / "killed")
    search(problem, tmp_path / "killed")
    for kind in ("weight", "alpha"):
        found, wanted = (
            [picture for call in r.of(kind) for picture in pictures(call["images"])]
            for r in (recorder, whole)
        )
        assert found == wanted


def test_alpha_moves_by_its_own_rate(table):
    """Adam with β₁ = 0: the first step is the rate, against the gradient's sign."""
    settings = config(table, {"alpha_learning_rate": 0.03}, gate_mode="full", latency_loss="constrained")
    problem = check_problem(settings)
    state = SearchState(problem)
    before = state.parameters.values()
    images, labels = next(iter(batches.evaluation_batches(problem.source, problem.alpha_part, 21, 16)))
    state.alpha_step(0, images, labels)
    moved = state.parameters.values()[problem.offered] - before[problem.offered]
    np.testing.assert_allclose(np.abs(moved), 0.03, rtol=1e-3)


def test_the_control_has_gradients_of_the_same_size_that_say_nothing(table, monkeypatch):
    problem = check_problem(config(table, gate_mode="full", algorithm="random"))
    state, recorder = SearchState(problem), Recorder(monkeypatch)
    seen = []
    original = search_state.gates.alpha_gradient
    monkeypatch.setattr(
        search_state.gates,
        "alpha_gradient",
        lambda gradient, p: seen.append(gradient) or original(gradient, p),
    )
    images, labels = next(iter(batches.evaluation_batches(problem.source, problem.alpha_part, 21, 16)))
    real, noise = [], []
    for step in range(40):
        seen.clear()
        state.alpha_step(step, images, labels)
        real.append(recorder.calls[-1]["gradient"][problem.offered])
        noise.append(seen[0][problem.offered])
    real, noise = np.concatenate(real), np.concatenate(noise)
    present = real != 0
    assert np.std(noise[present]) == pytest.approx(np.sqrt(np.mean(real[present] ** 2)), rel=0.35)
    # No more alike than chance: a correlation of n pairs has a deviation of 1 / √n.
    assert abs(np.corrcoef(real[present], noise[present])[0, 1]) < 4 / math.sqrt(present.sum())


def _poisoned_at(monkeypatch, number, poison):
    step = SearchState.weight_step

    def poisoned(self, index, *rest):
        step(self, index, *rest)
        if index == number:
            poison(self)

    monkeypatch.setattr(SearchState, "weight_step", poisoned)


def _checkpoints(folder) -> set[str]:
    return {path.stem for path in (folder / "search" / "checkpoint").glob("*.index")}


def test_a_loss_that_is_not_finite_stops_the_search_and_leaves_the_checkpoint(table, monkeypatch, tmp_path):
    weight_step = search_state.weight_step
    calls = []

    def diverges(*args):
        calls.append(args)
        loss, hits = weight_step(*args)
        return (float("nan") if len(calls) == STEPS + 3 else loss), hits

    monkeypatch.setattr(search_state, "weight_step", diverges)
    with pytest.raises(
        UserError,
        match=f"training loss became nan in step {STEPS + 3}, .*use a "
        "smaller --search_learning_rate .* in another --workdir. Nothing of it was "
        "saved; the last good checkpoint is kept",
    ):
        search_run.run_search(str(tmp_path), config(table))
    assert _checkpoints(tmp_path) == {f"ckpt-{STEPS}"}
    monkeypatch.setattr(search_state, "weight_step", weight_step)
    assert search_run.run_search(str(tmp_path), config(table))["steps"] == 3 * STEPS


@pytest.mark.parametrize("what", ["weights", "alpha"])
def test_a_state_that_is_not_finite_is_never_saved(table, monkeypatch, tmp_path, what):
    """After the last step of an epoch: its loss was finite, what it left is not."""

    def poison(state):
        if what == "weights":
            trained = state.supernet.stem.trained
            trained.assign(np.full(trained.shape, np.inf, np.float32))
        else:
            alpha = state.parameters.alpha
            alpha.assign(np.full(alpha.shape, np.nan))

    _poisoned_at(monkeypatch, 2 * STEPS - 1, poison)
    monkeypatch.setattr(search_run, "_end_epoch", lambda *_: None)
    message = {
        "weights": r"state is no longer finite \(supernet: .*--search_learning_rate",
        "alpha": r"state is no longer finite \(parameters: .*alpha",
    }[what]
    with pytest.raises(UserError, match=message):
        search_run.run_search(str(tmp_path), config(table))
    assert _checkpoints(tmp_path) == {f"ckpt-{STEPS}"}


def test_nothing_is_derived_from_alpha_that_is_no_number(table):
    problem = check_problem(config(table))
    with pytest.raises(UserError, match="not finite numbers, so no network can be derived"):
        problem.derive(np.where(problem.offered, np.nan, -np.inf))
