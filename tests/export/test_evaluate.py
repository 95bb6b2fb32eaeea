"""Evaluation: the numbers, the background class, every input type, and what is refused."""

import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from export import evaluate_run, model_accuracy
from export.classifier import Classifier
from export.convert_run import ConvertConfig, run_convert
from export.evaluate_config import EvaluateConfig
from export.evaluate_run import run_evaluate
from export.model_accuracy import background_classes, evaluate_model
from export.tflite_classifier import FileOptions, TFLiteClassifier
from nas_tf.base import files
from nas_tf.base.errors import UserError
from nas_tf.data.config import DataConfig
from nas_tf.data.preprocess import to_network_input
from nas_tf.network.model_folder import load_float_model

CLASSES = ("apple", "bear", "chair", "dog")
COUNT = 40


@pytest.fixture(scope="module")
def images():
    """uint8 images 18×18: the model resizes the short side to 18 and crops 16."""
    return np.random.default_rng(7).integers(0, 256, (COUNT, 18, 18, 3), np.uint8)


@pytest.fixture(scope="module")
def crops(images):
    return images[:, 1:17, 1:17]


@pytest.fixture(scope="module")
def predictions(float_folder, crops):
    model, _ = load_float_model(float_folder)
    return model(to_network_input(crops), training=False).numpy().argmax(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, images, predictions):
    """A folder of class folders in which the float network is right on 30 of 40 images."""
    root = tmp_path_factory.mktemp("fruit")
    for index, (image, label) in enumerate(zip(images, predictions)):
        name = CLASSES[label if index < 30 else (label + 1) % 4]
        (root / "test" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / "test" / name / f"{index}.png")
    for name in CLASSES:
        if (root / "test" / name).exists():  # a class that is never predicted may have none
            Image.fromarray(images[0]).save(root / "test" / name / ".hidden.png")
        (root / "train" / name).mkdir(parents=True)
        Image.fromarray(images[0]).save(root / "train" / name / "0.png")
    return root


@pytest.fixture(scope="module")
def config(folder):
    return EvaluateConfig(DataConfig(str(folder), resize_size=18), batch_size=16)


@pytest.fixture(scope="module")
def tflite(converted):
    return converted[1]["output"]


def test_a_float_folder_has_the_known_accuracy(float_folder, folder):
    config = EvaluateConfig(DataConfig(str(folder)), batch_size=7)
    summary = evaluate_model(str(float_folder), config)
    assert summary["top1"] == 0.75 and summary["top5"] == 1.0  # four classes
    assert summary["num_examples"] == COUNT and summary["split"] == "test"
    assert summary["kind"] == "float" and not summary["background_class"]
    assert summary["resize_size"] == 18 and summary["images_per_second"] > 0


def test_a_qat_folder_is_evaluated(qat_folder, folder):
    summary = evaluate_model(str(qat_folder), EvaluateConfig(DataConfig(str(folder))))
    assert summary["kind"] == "qat" and summary["top1"] == pytest.approx(0.75, abs=0.125)


def test_a_file_with_background_agrees_with_its_own_interpreter(tflite, config, folder, crops, predictions):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(tflite)
    interpreter.allocate_tensors()
    source, scores = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    found = []
    for crop in crops:
        interpreter.set_tensor(source["index"], crop[np.newaxis])
        interpreter.invoke()
        found.append(int(interpreter.get_tensor(scores["index"]).argmax()))
    labels = [p if i < 30 else (p + 1) % 4 for i, p in enumerate(predictions)]
    summary = evaluate_model(tflite, config)
    assert summary["background_class"] and summary["num_outputs"] == 5
    assert summary["top1"] == np.mean(np.array(found) == np.array(labels) + 1)
    assert summary["background_predictions"] == found.count(0)
    assert summary["input_type"] == "uint8"
    assert summary["input_scaling"] == {"formula": "pixel", "reason": "the input is uint8"}
    assert summary["class_names"] == "the model's and the dataset's are the same"


@pytest.mark.slow
def test_every_input_type_gives_the_same_scores(qat_folder, tmp_path, crops):
    def scores(input_type):
        output = tmp_path / f"{input_type}.tflite"
        run_convert("", ConvertConfig(str(qat_folder), str(output), input_type=input_type))
        classifier = TFLiteClassifier(output)
        assert classifier.input_type == input_type and classifier.resolution == 16
        return classifier(crops)

    wanted = scores("uint8")
    assert (scores("int8") == wanted).all() and (scores("float32") == wanted).all()


def test_workers_change_nothing(tflite, crops):
    one, three = (TFLiteClassifier(tflite, FileOptions(num_workers=n)) for n in (1, 3))
    assert (one(crops) == three(crops)).all()
    one.close()
    three.close()


def test_class_counts_decide_about_background():
    assert background_classes(1000, 1000, "m") == 0
    assert background_classes(1001, 1000, "m") == 1
    for outputs in (10, 999, 1002):
        with pytest.raises(
            UserError,
            match=f"'m' has {outputs} outputs, but the dataset has 1000 "
            "classes; a model for it has 1000, or 1001 with background",
        ):
            background_classes(outputs, 1000, "m")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_another_class_count_is_refused(kind, tflite, float_folder):
    model = tflite if kind == "file" else str(float_folder)
    with pytest.raises(UserError, match="outputs, but the dataset has 10 classes"):
        evaluate_model(model, EvaluateConfig(DataConfig("digits")))


def test_background_answers_are_counted(float_folder, folder, monkeypatch):
    """A stand-in that always says background, and is never right."""

    def stand_in(*_):
        return Classifier(
            "tflite",
            16,
            18,
            5,
            "uint8",
            "builtin",
            lambda pixels: np.eye(5, dtype=np.uint8)[[0] * len(pixels)],
            None,
            False,
            {},
        )

    monkeypatch.setattr(model_accuracy, "load_classifier", stand_in)
    summary = evaluate_model(str(float_folder), EvaluateConfig(DataConfig(str(folder))))
    assert summary["background_predictions"] == COUNT and summary["top1"] == 0.0


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "not a TensorFlow Lite file"),
        (b"a letter to a friend", "not a TensorFlow Lite file"),
        (b"\x1c\0\0\0TFL3" + b"\xff" * 200, "truncated or damaged|is damaged"),
    ],
)
def test_files_that_are_no_models(tmp_path, config, content, message):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        evaluate_model(path, config)


def test_an_empty_batch_is_refused(tflite, folder):
    with pytest.raises(UserError, match="batch size must be at least 1, not 0"):
        evaluate_model(tflite, EvaluateConfig(DataConfig(str(folder)), batch_size=0))


def test_a_file_cut_short_is_refused(tmp_path, tflite, config):
    content = open(tflite, "rb").read()
    path = tmp_path / "model.tflite"
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError, match="damaged|does not run here"):
            evaluate_model(path, config)


def test_missing_models_and_unknown_splits(tflite, config):
    with pytest.raises(UserError, match="no model '/no/such.tflite' to evaluate"):
        evaluate_model("/no/such.tflite", config)
    with pytest.raises(UserError, match="has no split 'dev'; it has test, train"):
        evaluate_model(tflite, dataclasses.replace(config, split="dev"))
    with pytest.raises(UserError, match="batch size must be at least 1, not 0"):
        evaluate_model(tflite, dataclasses.replace(config, batch_size=0))


def test_the_stage_writes_its_summary_once(converted, config, monkeypatch):
    workdir, _ = converted
    summary = run_evaluate(str(workdir), config)
    assert json.loads((workdir / "evaluate" / "summary.json").read_text()) == summary
    monkeypatch.setattr(evaluate_run, "evaluate_model", None)
    assert run_evaluate(str(workdir), config) == summary
    with pytest.raises(UserError, match='other settings .split: there "", asked "train"'):
        run_evaluate(str(workdir), dataclasses.replace(config, split="train"))


def test_the_command_writes_json(float_folder, folder, tmp_path):
    output = tmp_path / "out.json"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "export.evaluate",
            f"--model={float_folder}",
            f"--dataset={folder}",
            "--split=test",
            f"--output_json={output}",
        ],
        check=True,
        capture_output=True,
    )
    assert json.loads(output.read_text())["top1"] == 0.75


def test_one_runs_models_are_cropped_alike(float_folder, qat_folder, folder, tmp_path):
    """Made with a short side of 18 where the dataset's default for 16 pixels is 16."""
    from nas_tf.data.config import default_resize_size

    assert default_resize_size(16, 18) == 16
    shutil.copytree(float_folder, tmp_path / "train" / "model")
    shutil.copytree(qat_folder, tmp_path / "finetune" / "model")
    run_convert(str(tmp_path), ConvertConfig())
    summary = run_evaluate(str(tmp_path), EvaluateConfig(DataConfig(str(folder))))
    names = ("float", "qat", "int8")
    assert [summary[name]["resize_size"] for name in names] == [18, 18, 18]
    assert {summary[name]["resize_origin"] for name in names} == {"the model's own"}
    # A copy knows it without its folder; a flag comes first and says so.
    shutil.copy(summary["int8"]["model"], tmp_path / "copy.tflite")
    alone = evaluate_model(tmp_path / "copy.tflite", EvaluateConfig(DataConfig(str(folder))))
    assert alone["resize_size"] == 18 and alone["top1"] == summary["top1"]
    asked = evaluate_model(tmp_path / "copy.tflite", EvaluateConfig(DataConfig(str(folder), resize_size=17)))
    assert asked["resize_size"] == 17
    assert asked["resize_origin"] == "--resize_size; the model was made with 18"


def test_models_of_one_run_made_for_different_crops_are_refused(float_folder, converted, folder, tmp_path):
    shutil.copytree(converted[0] / "convert", tmp_path / "convert")
    shutil.copytree(float_folder, tmp_path / "train" / "model")
    _edit_description(tmp_path / "train" / "model", resize_size=16)
    with pytest.raises(
        UserError,
        match="made for different crops, a short side of 16 pixels "
        r".*train/model'\), 18 pixels .*int8.tflite'\); give --resize_size",
    ):
        run_evaluate(str(tmp_path), EvaluateConfig(DataConfig(str(folder))))
    data = DataConfig(str(folder), resize_size=18)
    assert run_evaluate(str(tmp_path / "."), EvaluateConfig(data))["float"]["resize_size"] == 18


def _edit_description(model, **changes):
    path = model / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_files_from_before_they_had_notes_are_known_by_their_run(qat_folder, folder, tmp_path):
    shutil.copytree(qat_folder, tmp_path / "finetune" / "model")
    run_convert(str(tmp_path), ConvertConfig(input_type="float32"))
    file = tmp_path / "convert" / "model_int8.tflite"
    _without_notes(file)
    files.write_json(file.parent / "written.json", {"sha256": files.sha256(file)})
    summary = evaluate_model(file, EvaluateConfig(DataConfig(str(folder))))
    assert summary["resize_size"] == 18 and summary["input_scaling"]["formula"] == ("(pixel - 128) / 128")
    moved = tmp_path / "elsewhere.tflite"
    shutil.copy(file, moved)
    with pytest.raises(UserError, match="128 and 128 for this project's files"):
        evaluate_model(moved, EvaluateConfig(DataConfig(str(folder))))


def _without_notes(path):
    """The file with its labels only, as it was written before."""
    from export import labels

    names, content = labels.read_appended(path), path.read_bytes()
    # Metadata of another name are none.
    content = content.replace(b"TFLITE_METADATA", b"OTHERS_METADATA")
    path.write_bytes(content[: content.index(b"PK\x03\x04")])
    labels.append(path, names)


def test_settings_of_older_runs_still_fit(converted, folder, tmp_path):
    shutil.copytree(converted[0] / "convert", tmp_path / "convert")
    config = EvaluateConfig(DataConfig(str(folder)), batch_size=16)
    summary = run_evaluate(str(tmp_path), config)
    path = tmp_path / "evaluate" / "settings.json"
    settings = json.loads(path.read_text())
    for name in ("input_mean", "input_std", "resolution", "resize_method"):
        del settings[name]
    del settings["data"]["class_names"]
    assert settings.keys() == {"data", "model", "split", "kernels"}  # what they wrote
    assert settings["data"].keys() == {"dataset", "train_split", "eval_split", "resize_size"}
    path.write_text(json.dumps(settings))
    assert run_evaluate(str(tmp_path), config) == summary
    for change, message in (
        ({"resolution": 32}, "resolution: there 0, asked 32"),
        ({"resize_method": "squash"}, 'resize_method: there "antialias", asked "squash"'),
        ({"input_mean": (127.5,)}, r"input_mean: there \[\], asked \[127.5\]"),
        (
            {"data": dataclasses.replace(config.data, class_names="ignore")},
            'data.class_names: there "match", asked "ignore"',
        ),
    ):
        with pytest.raises(UserError, match=f"other settings .{message}.;"):
            run_evaluate(str(tmp_path), dataclasses.replace(config, **change))


@pytest.mark.parametrize("kind", ["float", "file"])
def test_classes_in_another_order_are_matched(kind, float_folder, folder, predictions, tmp_path):
    """The same network with its classes named backwards, right wherever it was wrong by name."""
    backwards = CLASSES[::-1]
    shutil.copytree(float_folder, tmp_path / "model")
    _edit_description(tmp_path / "model", labels=backwards)
    model = tmp_path / "model"
    if kind == "file":
        model = tmp_path / "m.tflite"
        run_convert("", ConvertConfig(str(tmp_path / "model"), str(model), 0, "float32", "float32"))
    truth = [CLASSES[p if i < 30 else (p + 1) % 4] for i, p in enumerate(predictions)]
    right = np.mean([backwards[p] == name for p, name in zip(predictions, truth)])
    assert right < 0.5  # by position it would be 0.75
    summary = evaluate_model(model, EvaluateConfig(DataConfig(str(folder))))
    assert summary["top1"] == right
    assert summary["class_names"].endswith("another order: 4 of 4 were matched by name")
    ignoring = DataConfig(str(folder), class_names="ignore")
    assert evaluate_model(model, EvaluateConfig(ignoring))["top1"] == 0.75


def test_other_classes_are_refused(float_folder, folder, tflite, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    for split in ("train", "test"):
        (tmp_path / "other" / split / "apple").rename(tmp_path / "other" / split / "zebra")
    for model in (float_folder, tflite):
        with pytest.raises(
            UserError,
            match="only the model has 'apple'; only the dataset has 'zebra'; .*--class_names=ignore",
        ):
            evaluate_model(model, EvaluateConfig(DataConfig(str(tmp_path / "other"))))


def test_one_class_more_is_not_taken_for_background(float_folder, folder, tmp_path):
    """Four classes on a dataset of three: the first is an apple and no background."""
    shutil.copytree(folder, tmp_path / "three")
    for split in ("train", "test"):
        shutil.rmtree(tmp_path / "three" / split / "dog", ignore_errors=True)  # may be none
    with pytest.raises(UserError, match="only the model has 'dog'; only the dataset has 'apple'"):
        evaluate_model(float_folder, EvaluateConfig(DataConfig(str(tmp_path / "three"))))


def test_a_model_folder_takes_no_scaling(float_folder, folder):
    config = EvaluateConfig(DataConfig(str(folder)), input_mean=("0",), input_std=("255",))
    with pytest.raises(UserError, match="is a model folder, which says itself"):
        evaluate_model(float_folder, config)


def test_the_published_network_on_real_photographs(shared_data, tmp_path):
    """62.75 % on these 400 images is the authors' own implementation's figure."""
    from nas_tf.imported import import_run

    summary = import_run.run_import(
        str(tmp_path),
        import_run.ImportConfig(
            str(shared_data / "proxylessnas" / "proxyless-w0.3-r176_imagenet.json"),
            str(shared_data / "proxylessnas" / "proxyless-w0.3-r176_imagenet.pth"),
            "half",
        ),
    )
    data = DataConfig("imagenet2012", str(shared_data / "tfds"), eval_split="validation")
    found = evaluate_model(summary["model"], EvaluateConfig(data))
    assert found["num_examples"] == 400
    assert found["top1"] == pytest.approx(0.6275, abs=0.005)
