"""The stage: what it writes, that it resumes after a kill, and what it refuses."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from nas_tf.base import stopping
from nas_tf.base.errors import UserError
from nas_tf.base.metric_log import read_metrics
from nas_tf.data.config import NO_AUGMENTATION, Augmentation, DataConfig
from nas_tf.data.opening import open_config
from nas_tf.network import model_folder
from nas_tf.space.architecture import from_string
from quant import finetune_run, reconstruction
from quant.finetune_config import FinetuneConfig
from quant.finetune_run import run_finetune
from quant.model import load_qat_model
from quant.quantizer_list import activation_ranges, kernel_ranges

SMALL = FinetuneConfig(
    data=DataConfig("digits", train_split="train[:128]", eval_split="test[:64]"),
    augmentation=NO_AUGMENTATION,
    steps=4,
    batch_size=16,
    calibration_images=32,
)


@pytest.fixture(scope="module")
def float_folder(tmp_path_factory) -> str:
    """A float model for the digits."""
    import tf_keras as keras

    from nas_tf.network.build import build_network

    keras.utils.set_random_seed(0)
    architecture = from_string("s8x2 1_3c8 3_3c16x2 h24")
    folder = tmp_path_factory.mktemp("float") / "model"
    model_folder.save_model(
        folder,
        build_network(architecture, 8, 10),
        model_folder.ModelDescription("float", architecture, 8, 10, tuple("0123456789"), 8),
    )
    return str(folder)


@pytest.fixture(scope="module")
def finished(float_folder, tmp_path_factory):
    """(run folder, summary) of a run that nothing interrupted."""
    workdir = tmp_path_factory.mktemp("run")
    return workdir, run_finetune(str(workdir), dataclasses.replace(SMALL, model=float_folder))


def _weights(summary: dict) -> list[np.ndarray]:
    return load_qat_model(summary["model"])[0].get_weights()


def test_summary_and_files(finished):
    workdir, summary = finished
    assert {"float_top1", "qat_top1", "agreement", "snr_db", "steps", "seconds"} <= set(summary)
    assert summary["steps"] == 4 and summary["snr_db"] > 15
    assert json.loads((workdir / "finetune" / "summary.json").read_text()) == summary
    lines = (workdir / "finetune" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


def test_the_model_reloads_bit_for_bit(finished):
    _, summary = finished
    first, description = load_qat_model(summary["model"])
    second, _ = load_qat_model(summary["model"])
    images = np.random.default_rng(0).uniform(-1, 1, (5, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(first(images), second(images))
    assert description.kind == "qat" and np.any(first(images))


def test_a_run_killed_half_way_ends_as_an_uninterrupted_one(finished, float_folder, tmp_path, monkeypatch):
    class Killed(BaseException):
        """Stands for kill -9: nothing in the code catches it."""

    step, calls = finetune_run.FineTuner.step, []

    def dying(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise Killed
        return step(self, *arguments)

    config = dataclasses.replace(SMALL, model=float_folder)
    monkeypatch.setattr(finetune_run.FineTuner, "step", dying)
    with pytest.raises(Killed):
        run_finetune(str(tmp_path), config)
    assert not (tmp_path / "finetune" / "summary.json").exists()
    monkeypatch.setattr(finetune_run.FineTuner, "step", step)
    resumed = run_finetune(str(tmp_path), config)
    for expected, found in zip(_weights(finished[1]), _weights(resumed)):
        np.testing.assert_array_equal(expected, found)


def test_the_time_of_a_killed_attempt_counts(float_folder, tmp_path, monkeypatch, fake_time):
    """Two steps of 100 seconds, a kill, and the other two."""

    def step(self, *arguments):
        if fake_time.seconds == 200 and not tmp_path.joinpath("killed").exists():
            tmp_path.joinpath("killed").touch()
            raise KeyboardInterrupt
        fake_time.seconds += 100
        return original(self, *arguments)

    original = finetune_run.FineTuner.step
    monkeypatch.setattr(finetune_run.FineTuner, "step", step)
    config = dataclasses.replace(SMALL, model=float_folder, rounding="nearest")
    with pytest.raises(KeyboardInterrupt):
        run_finetune(str(tmp_path), config)
    assert run_finetune(str(tmp_path), config)["seconds"] == 400


def test_settings_of_older_runs_still_fit(finished, float_folder, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    path = tmp_path / "run" / "finetune" / "settings.json"
    settings = json.loads(path.read_text())
    del settings["data"]["class_names"]
    path.write_text(json.dumps(settings))
    config = dataclasses.replace(SMALL, model=float_folder)
    moved = {"model": str(tmp_path / "run/finetune/model")}
    assert run_finetune(str(tmp_path / "run"), config) == finished[1] | moved
    ignoring = dataclasses.replace(config, data=dataclasses.replace(config.data, class_names="ignore"))
    with pytest.raises(UserError, match='data.class_names: there "match", asked "ignore"'):
        run_finetune(str(tmp_path / "run"), ignoring)


@pytest.mark.parametrize("killed_after", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_run_killed_while_layers_are_rounded_takes_up_the_next_layer(
    finished, float_folder, tmp_path, monkeypatch, killed_after
):
    class Killed(BaseException):
        """Stands for kill -9: nothing in the code catches it."""

    fit, calls = reconstruction._fit_layer, []

    def counting(*arguments):
        calls.append(1)
        if len(calls) == killed_after + 1:
            raise Killed
        return fit(*arguments)

    config = dataclasses.replace(SMALL, model=float_folder)
    monkeypatch.setattr(finetune_run, "_SAVE_SECONDS", -1.0)
    monkeypatch.setattr(reconstruction, "_fit_layer", counting)
    with pytest.raises(Killed):
        run_finetune(str(tmp_path), config)
    resumed = run_finetune(str(tmp_path), config)
    layers = len(kernel_ranges(load_qat_model(resumed["model"])[0]))
    assert len(calls) == layers + 1  # each layer once, and the one that was cut short
    for expected, found in zip(_weights(finished[1]), _weights(resumed), strict=True):
        np.testing.assert_array_equal(expected, found)


LONGER = dataclasses.replace(SMALL, steps=20, checkpoint_minutes=1e9)  # two steps for each line of the log


@pytest.fixture(scope="module")
def longer(float_folder, tmp_path_factory):
    """(run folder, summary) of a longer run that nothing interrupted."""
    workdir = tmp_path_factory.mktemp("longer")
    return workdir, run_finetune(str(workdir), dataclasses.replace(LONGER, model=float_folder))


@pytest.mark.parametrize(
    "target, name, calls",
    [
        ("steps", "step", 5),
        pytest.param("steps", "step", 20, marks=pytest.mark.slow),
        ("layers", "_fit_layer", 1),
    ],
)
def test_sigterm_saves_first_and_loses_nothing(
    longer, float_folder, tmp_path, monkeypatch, sigterm, target, name, calls
):
    owner = {"steps": finetune_run.FineTuner, "layers": reconstruction}[target]
    original, done = getattr(owner, name), []

    def asked_to_end(*arguments):
        result = original(*arguments)
        done.append(1)
        if len(done) == calls:
            sigterm()
        return result

    monkeypatch.setattr(owner, name, asked_to_end)
    config = dataclasses.replace(LONGER, model=float_folder)
    with pytest.raises(stopping.Terminated):
        run_finetune(str(tmp_path), config)
    layers = len(kernel_ranges(load_qat_model(longer[1]["model"])[0]))
    saved = calls + (layers if target == "steps" else 0)
    assert (tmp_path / "finetune/checkpoint" / f"ckpt-{saved}.index").exists()
    monkeypatch.setattr(stopping._State, "asked", False)
    resumed = run_finetune(str(tmp_path), config)
    assert len(done) == {"steps": 20, "layers": layers}[target]
    for expected, found in zip(_weights(longer[1]), _weights(resumed), strict=True):
        np.testing.assert_array_equal(expected, found)
    # The mean over two steps too, one of which was taken before the end.
    assert read_metrics(tmp_path / "finetune") == read_metrics(longer[0] / "finetune")


def test_a_damaged_checkpoint_costs_its_steps_and_nothing_else(longer, float_folder, tmp_path, capsys):
    shutil.copytree(longer[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / "finetune/summary.json").unlink()
    latest = max((tmp_path / "finetune/checkpoint").glob("*.index"), key=lambda p: int(p.stem.split("-")[1]))
    latest.write_bytes(latest.read_bytes()[:-9])
    resumed = run_finetune(str(tmp_path), dataclasses.replace(LONGER, model=float_folder))
    said = capsys.readouterr().err
    assert f"finetune: CHECKPOINT DAMAGED: {latest.name} is not what was written" in said
    assert "so 2 steps are done again" in said
    for expected, found in zip(_weights(longer[1]), _weights(resumed), strict=True):
        np.testing.assert_array_equal(expected, found)
    assert read_metrics(tmp_path / "finetune") == read_metrics(longer[0] / "finetune")


def test_a_moved_run_folder_is_still_that_run(float_folder, tmp_path, monkeypatch):
    (tmp_path / "here" / "run" / "train").mkdir(parents=True)
    shutil.copytree(float_folder, tmp_path / "here" / "run" / "train" / "model")
    config = dataclasses.replace(SMALL, steps=0, rounding="nearest")
    monkeypatch.chdir(tmp_path / "here")
    summary = run_finetune("run", config)
    shutil.move(tmp_path / "here", tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    moved = summary | {"model": str(tmp_path / "there/run/finetune/model")}
    assert run_finetune(str(tmp_path / "there" / "run"), config) == moved
    (tmp_path / "there/run/train/model/model.json").write_text(
        (tmp_path / "there/run/train/model/model.json").read_text() + " "
    )
    with pytest.raises(UserError, match="other settings .*model: there"):
        run_finetune(str(tmp_path / "there" / "run"), config)


def test_a_short_side_that_is_not_the_models_is_refused(float_folder, tmp_path):
    data = dataclasses.replace(SMALL.data, resize_size=11)
    with pytest.raises(UserError, match="--resize_size=11 is not what .* was made with: 8"):
        run_finetune(str(tmp_path), dataclasses.replace(SMALL, model=float_folder, data=data))
    assert not (tmp_path / "finetune").exists()


def test_splits_that_share_images_are_refused(float_folder, tmp_path):
    data = dataclasses.replace(SMALL.data, eval_split="train[100:200]")
    with pytest.raises(UserError, match=r"share 28 images of dataset 'digits' \(train\[100:128\]\)"):
        run_finetune(str(tmp_path), dataclasses.replace(SMALL, model=float_folder, data=data))
    assert not (tmp_path / "finetune").exists()


def test_a_finished_run_is_returned_as_it_is(finished, float_folder):
    workdir, summary = finished
    before = {p: p.stat().st_mtime_ns for p in pathlib.Path(workdir).rglob("*") if p.is_file()}
    again = run_finetune(str(workdir), dataclasses.replace(SMALL, model=float_folder))
    assert again == summary
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_other_settings_are_refused(finished, float_folder):
    workdir, _ = finished
    with pytest.raises(UserError, match="holds a run with other settings .*steps: there 4, asked 9"):
        run_finetune(str(workdir), dataclasses.replace(SMALL, model=float_folder, steps=9))


def test_a_quantized_model_is_refused(finished, tmp_path):
    with pytest.raises(UserError, match="holds a qat model; a float model is needed"):
        run_finetune(str(tmp_path), dataclasses.replace(SMALL, model=finished[1]["model"]))


def test_a_missing_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a model folder"):
        run_finetune(str(tmp_path), SMALL)


def test_a_float_folder_is_no_qat_model(float_folder):
    with pytest.raises(UserError, match="run quant.finetune on it first"):
        load_qat_model(float_folder)


def test_another_class_count_is_refused(float_folder, tmp_path, shared_data):
    data = DataConfig("imagenet2012", str(shared_data / "tfds"))
    with pytest.raises(UserError, match="has 10 classes, but the dataset 'imagenet2012' has 1000"):
        run_finetune(str(tmp_path), dataclasses.replace(SMALL, model=float_folder, data=data))
    assert not (tmp_path / "finetune").exists()


def test_calibration_sees_views_where_images_are_too_few(float_folder, tmp_path, monkeypatch):
    seen = []

    def calibrate(float_model, qat_model, batches, method):
        seen.extend(np.concatenate(batches))
        return original(float_model, qat_model, batches, method)

    original = finetune_run.ranges.calibrate
    monkeypatch.setattr(finetune_run.ranges, "calibrate", calibrate)
    few = dataclasses.replace(
        SMALL,
        model=float_folder,
        steps=0,
        rounding="nearest",
        calibration_images=30,
        data=dataclasses.replace(SMALL.data, train_split="train[:20]"),
        augmentation=Augmentation(min_crop_area=0.4, flip=False),
    )
    run_finetune(str(tmp_path), few)
    assert len(seen) == 30
    # The first 20 are the images themselves, each once; the others are none of them.
    assert len({image.tobytes() for image in seen[:20]}) == 20
    assert not {image.tobytes() for image in seen[:20]} & {i.tobytes() for i in seen[20:]}


def test_classes_in_another_order_are_taken_by_name(float_folder, finished, tmp_path, monkeypatch):
    """The network's class i is named i + 1: labels that it learns from are counted so too."""
    shutil.copytree(float_folder, tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": list("1234567890")}))
    seen, original = [], finetune_run.FineTuner.step

    def step(self, images, labels, *rest):
        seen.append((np.asarray(images), np.asarray(labels)))
        return original(self, images, labels, *rest)

    monkeypatch.setattr(finetune_run.FineTuner, "step", step)
    config = dataclasses.replace(SMALL, model=str(tmp_path / "model"), rounding="nearest")
    summary = run_finetune(str(tmp_path / "run"), config)
    model, _ = model_folder.load_float_model(float_folder)
    source = open_config(SMALL.data)
    images, labels = (
        np.concatenate(c) for c in zip(*((i.numpy(), t.numpy()) for i, t in source.batches("test[:64]", 64)))
    )
    predicted = model((images.astype(np.float32) - 128) / 128).numpy().argmax(1)
    by_name, by_position = (np.mean(p == labels) for p in ((predicted + 1) % 10, predicted))
    assert summary["float_top1"] == by_name != by_position
    assert "10 of 10 were matched by name" in summary["class_names"]
    train_images, train_labels = next(iter(source.batches("train[:128]", 128)))
    known = {image.tobytes(): int(label) for image, label in zip(train_images.numpy(), train_labels)}
    for batch, given in seen:
        assert given.tolist() == [(known[image.tobytes()] - 1) % 10 for image in batch]
    assert len(seen) == SMALL.steps


def test_other_classes_are_refused_before_the_stage(float_folder, tmp_path):
    shutil.copytree(float_folder, tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": list("abcdefghij")}))
    config = dataclasses.replace(SMALL, model=str(tmp_path / "model"))
    with pytest.raises(UserError, match="only the model has 'a', .*only the dataset has '0'"):
        run_finetune(str(tmp_path / "run"), config)
    assert not (tmp_path / "run").exists()


def test_the_teacher_is_the_network_given_and_its_features_have_the_students_gains(
    float_folder, tmp_path, monkeypatch
):
    seen = {}

    class Recording(finetune_run.FineTuner):
        """Keeps what it is given."""

        def __init__(self, teacher, qat_model, shares, gains, *rest):
            seen.update(teacher=teacher, gains=gains)
            super().__init__(teacher, qat_model, shares, gains, *rest)

    equalize = finetune_run.equalize

    def equalizing(model, batches):
        seen.update(equalized=model, shown=np.concatenate(batches))
        return equalize(model, batches)

    monkeypatch.setattr(finetune_run, "FineTuner", Recording)
    monkeypatch.setattr(finetune_run, "equalize", equalizing)
    run_finetune(str(tmp_path), dataclasses.replace(SMALL, model=float_folder, steps=0, rounding="nearest"))
    # Brighter and darker than any digit, so that channels go beyond what calibration has shown.
    pixels = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3))
    images = np.sign((pixels - 128) / 128).astype(np.float32)
    given, _ = model_folder.load_float_model(float_folder)
    expected = given(images).numpy()
    np.testing.assert_allclose(seen["teacher"](images), expected, atol=1e-4)
    assert np.abs(seen["equalized"](images).numpy() - expected).max() > 1e-3
    checked = 0
    for name, gain in seen["gains"].items():
        ours, theirs = (_tensor(seen[model], name, seen["shown"]) for model in ("teacher", "equalized"))
        np.testing.assert_allclose(ours * gain, theirs, rtol=1e-4, atol=1e-4)
        checked += bool(np.any(gain > 1.01))
    assert checked >= 2


@pytest.mark.parametrize(
    "broken, message",
    [
        (
            "loss",
            "fine-tuning loss became nan in step 3, .*use a lower --finetune_learning_rate or fewer "
            "--steps in another --workdir",
        ),
        ("range", "state is no longer finite .weights: '.*max"),
        ("kernel", "state is no longer finite .weights: '.*logits.*kernel"),
        ("step", "state is no longer finite .weights: '.*stem_conv.*max"),
    ],
)
def test_what_is_not_finite_is_named_and_the_last_good_checkpoint_stays(
    finished, float_folder, tmp_path, monkeypatch, broken, message
):
    step, calls = finetune_run.FineTuner.step, []

    def breaking(self, *arguments):
        loss = step(self, *arguments)
        calls.append(1)
        if len(calls) != 3:
            return loss
        if broken == "range":
            next(r for r in activation_ranges(self._qat) if r.fixed is None).maximum.assign(np.inf)
        elif broken == "kernel":
            kernel_ranges(self._qat)[-1].kernel.assign_add(
                np.full(kernel_ranges(self._qat)[-1].kernel.shape, np.nan)
            )
        elif broken == "step":
            maximum = kernel_ranges(self._qat)[0].maximum
            maximum.assign(np.full(maximum.shape, np.inf))
        return loss if broken != "loss" else loss * np.nan

    class Remembering(finetune_run.FineTuner):
        """Knows its model, so that it can be broken."""

        def __init__(self, teacher, qat_model, *rest):
            self._qat = qat_model
            super().__init__(teacher, qat_model, *rest)

    config = dataclasses.replace(SMALL, model=float_folder)
    with monkeypatch.context() as patch:
        patch.setattr(finetune_run, "FineTuner", Remembering)
        patch.setattr(Remembering, "step", breaking, raising=False)
        with pytest.raises(UserError, match=message):
            run_finetune(str(tmp_path), config)
    assert not (tmp_path / "finetune" / "model").exists()
    assert not (tmp_path / "finetune" / "summary.json").exists()
    # Two steps were saved: what follows is what an unbroken run does from there.
    resumed = run_finetune(str(tmp_path), config)
    lines = (tmp_path / "finetune" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
    for expected, found in zip(_weights(finished[1]), _weights(resumed), strict=True):
        np.testing.assert_array_equal(expected, found)


def _tensor(model, name: str, images: np.ndarray) -> np.ndarray:
    import tf_keras as keras

    return keras.Model(model.input, model.get_layer(name).output)(images).numpy()
