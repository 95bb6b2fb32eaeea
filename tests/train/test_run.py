"""The training stage: resuming, refusing, and learning."""

import dataclasses
import itertools
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from nas_tf.base import files, stopping
from nas_tf.base.errors import UserError
from nas_tf.base.metric_log import read_metrics
from nas_tf.data.config import Augmentation, DataConfig
from nas_tf.network.model_folder import load_float_model
from nas_tf.train import run as train_run
from nas_tf.train.accuracy import AccuracyCounter
from nas_tf.train.config import TrainConfig, WeightStep
from nas_tf.train.run import run_train
from nas_tf.train.weight_trainer import WeightTrainer
from tests.data.conftest import write_image

CONFIG = TrainConfig(
    data=DataConfig("digits", train_split="train[:96]", eval_split="test[:40]"),
    augmentation=Augmentation(0.7, False, 0.5),
    architecture="s8x2 1_3c8 3_3c8x2 3_3c8 h16",
    resolution=16,
    epochs=2,
    batch_size=20,
    learning_rate=0.1,
    weights=WeightStep(ema_decay=0.9),
)


class Killed(BaseException):
    """Stands for a kill: nothing in the code catches it."""


def weights(workdir):
    model, _ = load_float_model(workdir / "train" / "model")
    return model.get_weights()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: (folder, summary)."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, run_train(str(workdir), CONFIG)


# Five steps per epoch: within the first, and at its end before the next begins.
@pytest.mark.parametrize("steps", [3, 5])
def test_a_killed_run_ends_with_the_same_weights(whole, tmp_path, monkeypatch, steps):
    config = dataclasses.replace(CONFIG, checkpoint_minutes=0.0)
    counter, original = itertools.count(), WeightTrainer.step

    def killed(self, *args):
        if next(counter) == steps:
            raise Killed
        original(self, *args)

    monkeypatch.setattr(WeightTrainer, "step", killed)
    with pytest.raises(Killed):
        run_train(str(tmp_path), config)
    assert not (tmp_path / "train" / "summary.json").exists()
    monkeypatch.setattr(WeightTrainer, "step", original)
    summary = run_train(str(tmp_path), config)
    for found, wanted in zip(weights(tmp_path), weights(whole[0])):
        assert np.allclose(found, wanted, atol=1e-6)
    assert summary["top1"] == whole[1]["top1"]
    for found, wanted in zip(read_metrics(tmp_path / "train"), read_metrics(whole[0] / "train"), strict=True):
        assert found == pytest.approx(wanted, rel=1e-5)


def test_the_time_of_all_attempts_counts_without_work_done_again(tmp_path, monkeypatch, fake_time):
    """Ten steps of 100 seconds in five of which a kill loses the last two."""

    def timed(self, *args):
        if len(done) == 7 and fake_time.seconds == 700:
            raise Killed
        done.append(args)
        fake_time.seconds += 100
        original(self, *args)

    done, original = [], WeightTrainer.step
    monkeypatch.setattr(WeightTrainer, "step", timed)
    config = dataclasses.replace(CONFIG, checkpoint_minutes=1000.0)  # only at the end of an epoch
    with pytest.raises(Killed):
        run_train(str(tmp_path), config)
    fake_time.seconds += 5000  # a night
    assert run_train(str(tmp_path), config)["seconds"] == 1000
    assert len(done) == 12


def test_settings_of_older_runs_still_fit(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    path = tmp_path / "run" / "train" / "settings.json"
    settings = json.loads(path.read_text())
    del settings["data"]["class_names"]
    shortcuts = [block.pop("shortcut") for block in settings["architecture"]["blocks"]]
    assert shortcuts == [True, False, True]
    path.write_text(json.dumps(settings))
    moved = {"model": str(tmp_path / "run/train/model")}
    assert run_train(str(tmp_path / "run"), CONFIG) == whole[1] | moved
    ignoring = dataclasses.replace(CONFIG.data, class_names="ignore")
    for change, message in (
        ({"data": ignoring}, 'data.class_names: there "match", asked "ignore"'),
        (
            {"architecture": "s8x2 1_3c8_noskip 3_3c8x2 3_3c8 h16"},
            "architecture.blocks.0.shortcut: there true, asked false",
        ),
    ):
        with pytest.raises(UserError, match=f"other settings .{message}.;"):
            run_train(str(tmp_path / "run"), dataclasses.replace(CONFIG, **change))


def test_the_summary_and_the_metrics(whole):
    workdir, summary = whole
    assert {"top1", "top5", "epochs", "seconds"} <= set(summary)
    assert summary["steps"] == 10 and summary["train_images"] == 96
    assert summary["eval_images"] == 40 and summary["epochs"] == 2
    assert json.loads((workdir / "train" / "summary.json").read_text()) == summary
    lines = read_metrics(workdir / "train")
    assert [line["epoch"] for line in lines] == [0, 1]
    assert set(lines[0]) == {"epoch", "loss", "train_top1", "eval_top1", "learning_rate"}
    assert lines[1]["eval_top1"] == summary["top1"]


def test_a_run_that_has_ended_is_not_run_again(whole, monkeypatch):
    monkeypatch.setattr(train_run, "_train", None)
    assert run_train(str(whole[0]), CONFIG) == whole[1]


@pytest.mark.parametrize("what", ["loss", "weights"])
def test_a_run_that_diverges_stops_and_keeps_its_last_good_checkpoint(tmp_path, monkeypatch, what):
    original = WeightTrainer.step

    def diverging(self, images, labels, step, rate):
        original(self, images, labels, step, rate)
        if step == 9:  # the last one of the second epoch, so that the loss was finite
            bias = self.model.get_layer("logits").bias
            bias.assign(np.full(bias.shape, np.nan))
            if what == "loss":
                original(self, images, labels, step, rate)

    monkeypatch.setattr(WeightTrainer, "step", diverging)
    monkeypatch.setattr(train_run, "_evaluate", lambda *_: AccuracyCounter())
    with pytest.raises(
        UserError, match="use a smaller --learning_rate, or --warmup_epochs, in another --workdir"
    ):
        run_train(str(tmp_path), CONFIG)
    saved = {path.stem for path in (tmp_path / "train" / "checkpoint").glob("*.index")}
    assert saved == {"ckpt-5"} and not (tmp_path / "train" / "summary.json").exists()


def test_moved_data_does_not_stop_a_run(whole):
    data = dataclasses.replace(CONFIG.data, data_dir="/elsewhere")
    assert run_train(str(whole[0]), dataclasses.replace(CONFIG, data=data)) == whole[1]


def test_another_runs_folder_is_refused(whole):
    with pytest.raises(
        UserError,
        match=r"run with other settings \(learning_rate: there 0.1, "
        r"asked 0.2\)",
    ):
        run_train(str(whole[0]), dataclasses.replace(CONFIG, learning_rate=0.2))


def test_training_goes_on_from_a_given_model(whole, tmp_path):
    start = str(whole[0] / "train" / "model")
    summary = run_train(
        str(tmp_path),
        dataclasses.replace(
            CONFIG, initial_model=start, epochs=1, learning_rate=1e-8, weights=WeightStep(ema_decay=0.0)
        ),
    )
    for found, wanted in zip(weights(tmp_path), weights(whole[0])):
        if found.ndim > 1:
            assert np.allclose(found, wanted, atol=1e-5)
    assert summary["epochs"] == 1


def test_training_on_takes_the_classes_by_name(whole, tmp_path):
    """The same network, its classes counted from behind: after a step of rate ~0 its logits for
    the dataset are those of the first one, reversed."""
    shutil.copytree(whole[0] / "train" / "model", tmp_path / "start")
    description = json.loads((tmp_path / "start" / "model.json").read_text())
    (tmp_path / "start" / "model.json").write_text(
        json.dumps(description | {"labels": description["labels"][::-1]})
    )
    config = dataclasses.replace(
        CONFIG,
        initial_model=str(tmp_path / "start"),
        epochs=1,
        learning_rate=1e-8,
        weights=WeightStep(ema_decay=0.0),
    )
    run_train(str(tmp_path / "run"), config)
    model, found = load_float_model(tmp_path / "run" / "train" / "model")
    assert found.labels == tuple("0123456789")
    first, _ = load_float_model(whole[0] / "train" / "model")
    for ours, theirs in zip(model.get_layer("logits").get_weights(), first.get_layer("logits").get_weights()):
        assert np.allclose(ours, theirs[..., ::-1], atol=1e-5)


def test_training_on_from_other_classes_is_refused_before_the_stage(whole, tmp_path):
    for name in ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"):
        for split in ("train", "test"):
            write_image(tmp_path / "images" / split / name / "0.png")
    config = dataclasses.replace(
        CONFIG,
        initial_model=str(whole[0] / "train" / "model"),
        epochs=1,
        batch_size=2,
        data=DataConfig(str(tmp_path / "images"), eval_split="test"),
    )
    with pytest.raises(UserError, match="only the model has '0', .*--class_names=ignore"):
        run_train(str(tmp_path / "run"), config)
    assert not (tmp_path / "run").exists()
    ignoring = dataclasses.replace(config.data, class_names="ignore")
    run_train(str(tmp_path / "run"), dataclasses.replace(config, data=ignoring))


def test_a_model_of_another_architecture_is_refused(whole, tmp_path):
    config = dataclasses.replace(
        CONFIG, initial_model=str(whole[0] / "train" / "model"), architecture="s8x2 1_3c8 h16"
    )
    with pytest.raises(UserError, match="has the architecture .*, not 's8x2 1_3c8 h16'"):
        run_train(str(tmp_path), config)


def test_a_model_with_another_class_count_is_refused(whole, tmp_path):
    for name in ("a", "b", "c"):
        write_image(tmp_path / "images" / name / "0.png")
    config = dataclasses.replace(
        CONFIG,
        initial_model=str(whole[0] / "train" / "model"),
        data=DataConfig(str(tmp_path / "images"), train_split="train[:2]", eval_split="train[2:]"),
    )
    with pytest.raises(UserError, match="has 10 classes, but dataset '.*images' has 3"):
        run_train(str(tmp_path), config)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "resolution", "eval_every"])
@pytest.mark.parametrize("value", [0, -2])
def test_sizes_that_make_no_sense(tmp_path, name, value):
    with pytest.raises(UserError, match=f"--{name} must be at least 1, not {value}"):
        run_train(str(tmp_path), dataclasses.replace(CONFIG, **{name: value}))
    assert not list(tmp_path.iterdir())


def test_no_architecture(tmp_path):
    with pytest.raises(
        UserError,
        match="--architecture is not given and .*architecture.json' does not exist; run nas_tf.search",
    ):
        run_train(str(tmp_path), dataclasses.replace(CONFIG, architecture=""))


def test_the_searched_architecture_is_taken_as_it_is(tmp_path):
    searched = train_run.find_architecture("", CONFIG.architecture, 1.0)
    files.write_json(tmp_path / "search" / "architecture.json", searched.to_json())
    assert train_run.find_architecture(str(tmp_path), "", 2.0) == searched
    assert train_run.find_architecture("", CONFIG.architecture, 2.0) == searched.scaled(2.0)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="Cannot write to the folder"):
        run_train(str(tmp_path / "file"), CONFIG)


@pytest.mark.slow
def test_digits_are_learned(tmp_path):
    """95 % is far above what a linear classifier gets on so few steps; chance is 10 %."""
    summary = run_train(
        str(tmp_path),
        dataclasses.replace(
            CONFIG,
            data=DataConfig("digits"),
            epochs=12,
            batch_size=64,
            resolution=16,
            architecture="s8x2 1_3c8 3_3c16 3_3c16 6_3c24x2 h64",
            weights=WeightStep(dropout=0.0),
        ),
    )
    assert summary["top1"] > 0.95


def test_the_command_refuses_in_one_sentence(tmp_path):
    """Exit status 1, no traceback, nothing written."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "nas_tf.train",
            f"--workdir={tmp_path / 'run'}",
            "--architecture=mobilenet_v2",
            "--dataset=digits",
            "--train_split=nothing",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: Dataset 'digits' has no split 'nothing'; it has test, train" in done.stderr
    assert not (tmp_path / "run").exists()


def _bit_for_bit(found, wanted):
    assert all(np.array_equal(a, b) for a, b in zip(weights(found), weights(wanted), strict=True))
    assert read_metrics(found / "train") == read_metrics(wanted / "train")
    ignored = {"seconds", "model"}
    first, second = (json.loads((w / "train" / "summary.json").read_text()) for w in (found, wanted))
    assert {k: v for k, v in first.items() if k not in ignored} == {
        k: v for k, v in second.items() if k not in ignored
    }


# Within an epoch, in the last step of one, and in the last of all.
@pytest.mark.parametrize("steps", [3, 5, 10])
def test_sigterm_saves_first_and_loses_no_step(whole, tmp_path, monkeypatch, sigterm, steps):
    counter, original = itertools.count(1), WeightTrainer.step

    def asked_to_end(self, *args):
        original(self, *args)
        if next(counter) == steps:
            sigterm()

    monkeypatch.setattr(WeightTrainer, "step", asked_to_end)
    with pytest.raises(stopping.Terminated):
        run_train(str(tmp_path), CONFIG)
    assert (tmp_path / "train" / "checkpoint" / f"ckpt-{steps}.index").exists()
    monkeypatch.setattr(stopping._State, "asked", False)
    run_train(str(tmp_path), CONFIG)
    assert next(counter) == 10 + 1  # each step once
    _bit_for_bit(tmp_path, whole[0])


def test_sigterm_while_an_epoch_is_judged_loses_no_step(whole, tmp_path, monkeypatch, sigterm):
    judged, original = [], WeightTrainer.evaluate

    def asked_to_end(self, images):
        judged.append(1)
        if len(judged) == 1:
            sigterm()
        return original(self, images)

    monkeypatch.setattr(WeightTrainer, "evaluate", asked_to_end)
    with pytest.raises(stopping.Terminated):
        run_train(str(tmp_path), CONFIG)
    assert read_metrics(tmp_path / "train") == []
    assert (tmp_path / "train" / "checkpoint" / "ckpt-5.index").exists()
    monkeypatch.setattr(stopping._State, "asked", False)
    run_train(str(tmp_path), CONFIG)
    _bit_for_bit(tmp_path, whole[0])


@pytest.mark.parametrize("name", ["ckpt-10.data-00000-of-00001", "ckpt-10.index"])
def test_a_damaged_checkpoint_costs_its_steps_and_nothing_else(whole, tmp_path, capsys, name):
    shutil.copytree(whole[0] / "train", tmp_path / "train")
    (tmp_path / "train" / "summary.json").unlink()
    (tmp_path / "train" / "checkpoint" / name).write_bytes(b"damaged")
    run_train(str(tmp_path), CONFIG)
    assert f"train: CHECKPOINT DAMAGED: {name}" in (said := capsys.readouterr().err)
    assert "from step 10 to step 5, so 5 steps are done again" in said
    _bit_for_bit(tmp_path, whole[0])


def test_damaged_metrics_are_set_aside_and_the_run_ends_as_it_would(whole, tmp_path, capsys):
    shutil.copytree(whole[0] / "train", tmp_path / "train")
    (tmp_path / "train" / "summary.json").unlink()
    (tmp_path / "train" / "metrics.jsonl").write_bytes(b"\xff\xfe\n[1]\n")
    run_train(str(tmp_path), CONFIG)
    assert (
        "metrics.jsonl is damaged; 0 lines of it can be read and are kept, 2 cannot"
        in capsys.readouterr().err
    )
    # The figures of the epoch that the state is of are known; those before it are gone.
    assert read_metrics(tmp_path / "train") == read_metrics(whole[0] / "train")[1:]


def test_a_network_that_learned_nothing_says_so(tmp_path, capsys):
    config = dataclasses.replace(CONFIG, learning_rate=1e-9, weights=WeightStep(ema_decay=0.0))
    summary = run_train(str(tmp_path), config)
    assert "so nothing was learned; use more --epochs, or another --learning_rate" in summary["warning"]
    assert f"train: WARNING: {summary['warning']}" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_is_named_before_a_save_that_comes_before_a_look_at_it(
    tmp_path, monkeypatch
):
    step = WeightTrainer.step

    def diverges(self, images, labels, number, rate):
        step(self, images, labels, number, rate)
        if number == 2:
            self._sums.assign_add([np.inf, 0.0, 0.0])

    monkeypatch.setattr(WeightTrainer, "step", diverges)
    with pytest.raises(UserError, match="The training loss is no longer a finite number; use a smaller"):
        run_train(str(tmp_path), dataclasses.replace(CONFIG, checkpoint_minutes=0.0))
    saved = {path.stem for path in (tmp_path / "train" / "checkpoint").glob("*.index")}
    assert saved == {"ckpt-1", "ckpt-2"}
