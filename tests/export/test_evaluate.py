"""Evaluation: the numbers, the background class, every input type, and what is refused."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from export import evaluate_run
from export.convert_run import ConvertConfig, run_convert
from export.evaluate_run import EvaluateConfig, background_classes, evaluate_model, run_evaluate
from export.tflite_classifier import TFLiteClassifier, to_input
from nas_tf.data.config import DataConfig
from nas_tf.data.preprocess import to_network_input
from nas_tf.errors import UserError
from nas_tf.model_folder import load_float_model

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
        (root / "test" / name).mkdir(exist_ok=True)
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


def test_a_file_with_background_agrees_with_its_own_interpreter(tflite, config, folder, crops,
                                                                predictions):
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
    one, three = TFLiteClassifier(tflite, num_workers=1), TFLiteClassifier(tflite, num_workers=3)
    assert (one(crops) == three(crops)).all()
    one.close()
    three.close()


@pytest.mark.parametrize("dtype, scale, zero_point, wanted", [
    (np.uint8, 1 / 128, 128, [0, 1, 127, 128, 255]),
    (np.int8, 1 / 128, 0, [-128, -127, -1, 0, 127]),
    (np.uint8, 2 / 128, 100, [36, 36, 100, 100, 164]),  # halves round to even
    (np.uint8, 1 / 256, 128, [0, 0, 126, 128, 255]),  # beyond the range: clipped
    (np.float32, 0.0, 0, [-1, -127 / 128, -1 / 128, 0, 127 / 128])])
def test_pixels_become_the_tensors_own_integers(dtype, scale, zero_point, wanted):
    found = to_input(np.array([0, 1, 127, 128, 255], np.uint8), dtype, scale, zero_point)
    assert found.dtype == dtype and found.tolist() == wanted


def test_class_counts_decide_about_background():
    assert background_classes(1000, 1000, "m") == 0
    assert background_classes(1001, 1000, "m") == 1
    for outputs in (10, 999, 1002):
        with pytest.raises(UserError, match=f"'m' has {outputs} outputs, but the dataset has 1000 "
                           "classes; a model for it has 1000, or 1001 with background"):
            background_classes(outputs, 1000, "m")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_another_class_count_is_refused(kind, tflite, float_folder):
    model = tflite if kind == "file" else str(float_folder)
    with pytest.raises(UserError, match="outputs, but the dataset has 10 classes"):
        evaluate_model(model, EvaluateConfig(DataConfig("digits")))


def test_background_answers_are_counted(float_folder, folder, monkeypatch):
    """A stand-in that always says background, and is never right."""
    def stand_in(*_):
        return evaluate_run._Classifier("tflite", 16, 18, 5, "uint8", "builtin",
                                        lambda pixels: np.eye(5, dtype=np.uint8)[[0] * len(pixels)])
    monkeypatch.setattr(evaluate_run, "_load", stand_in)
    summary = evaluate_model(str(float_folder), EvaluateConfig(DataConfig(str(folder))))
    assert summary["background_predictions"] == COUNT and summary["top1"] == 0.0


@pytest.mark.parametrize("content, message", [
    (b"", "not a TensorFlow Lite file"),
    (b"a letter to a friend", "not a TensorFlow Lite file"),
    (b"\x1c\0\0\0TFL3" + b"\xff" * 200, "truncated or damaged|is damaged")])
def test_files_that_are_no_models(tmp_path, config, content, message):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        evaluate_model(path, config)


def test_a_file_cut_short_is_refused(tmp_path, tflite, config):
    content = open(tflite, "rb").read()
    path = tmp_path / "model.tflite"
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(content[:int(len(content) * share)])
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
        [sys.executable, "-m", "export.evaluate", f"--model={float_folder}", f"--dataset={folder}",
         "--split=test", f"--output_json={output}"], check=True, capture_output=True)
    assert json.loads(output.read_text())["top1"] == 0.75


def test_the_published_network_on_real_photographs(shared_data, tmp_path):
    """62.75 % on these 400 images is the authors' own implementation's figure."""
    from nas_tf.imported import import_run

    summary = import_run.run_import(str(tmp_path), import_run.ImportConfig(
        str(shared_data / "proxylessnas" / "proxyless-w0.3-r176_imagenet.json"),
        str(shared_data / "proxylessnas" / "proxyless-w0.3-r176_imagenet.pth"), "half"))
    data = DataConfig("imagenet2012", str(shared_data / "tfds"), eval_split="validation")
    found = evaluate_model(summary["model"], EvaluateConfig(data))
    assert found["num_examples"] == 400
    assert found["top1"] == pytest.approx(0.6275, abs=0.005)
