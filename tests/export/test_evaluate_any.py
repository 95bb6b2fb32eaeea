"""Any classifier judged: against an evaluation that shares no code, compared in pairs, interrupted."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from export import evaluate_run, model_accuracy
from export.classifier import Classifier
from export.evaluate_config import EvaluateConfig
from export.evaluate_run import facts_for_people, run_comparison
from export.model_accuracy import evaluate_model
from nas_tf.base import stopping
from nas_tf.base.errors import UserError
from nas_tf.data.config import DataConfig
from nas_tf.data.opening import open_config
from nas_tf.data.preprocess import to_network_input
from nas_tf.network.model_folder import load_float_model
from tests.export import foreign_models as foreign

NAMES = ("a", "b", "c", "d")
PER_CLASS = 12


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    """Images of each brightness, so far spread that some lie nearer to another class."""
    root, random = tmp_path_factory.mktemp("spread"), np.random.default_rng(1)
    for name, centre in zip(NAMES, foreign.CENTRES):
        (root / "test" / name).mkdir(parents=True)
        for index in range(PER_CLASS):
            grey = centre + random.normal(0, 30) + random.integers(-20, 21, (8, 8, 3))
            Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(
                root / "test" / name / f"{index}.png"
            )
    return root


@pytest.fixture(scope="module", name="config")
def _config(folder):
    return EvaluateConfig(DataConfig(str(folder)), num_workers=2, batch_size=7)


@pytest.fixture(scope="module", name="unit")
def _unit(tmp_path_factory):
    """A float file that reads [0, 1]."""
    path = tmp_path_factory.mktemp("unit") / "unit.tflite"
    return str(foreign.float_file(path, foreign.nearest_brightness([0.0], [255.0])))


@pytest.fixture(scope="module", name="quantized")
def _quantized(tmp_path_factory):
    """Post-training quantization of a network that reads [−1, 1], int8 in and out."""
    path, scaling = tmp_path_factory.mktemp("ptq") / "ptq.tflite", ([127.5], [127.5])
    return str(foreign.integer_file(path, foreign.nearest_brightness(*scaling), *scaling, "int8"))


def independent(file, folder, mean, std):
    """(right, answers) from Pillow, NumPy and the interpreter, in the order of classes and names."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = source["quantization"]
    right, answers = [], []
    for label, name in enumerate(NAMES):
        for path in sorted((folder / "test" / name).iterdir()):
            x = (np.asarray(Image.open(path), np.float64) - mean) / std
            if scale:
                limits = np.iinfo(source["dtype"])
                x = np.clip(np.round(x / scale) + zero_point, limits.min, limits.max)
            interpreter.set_tensor(source["index"], x.astype(source["dtype"])[np.newaxis])
            interpreter.invoke()
            answers.append(int(interpreter.get_tensor(sink["index"])[0].argmax()))
            right.append(answers[-1] == label)
    return np.array(right), np.array(answers)


def asked(config, mean, std):
    return dataclasses.replace(config, input_mean=(mean,), input_std=(std,))


def test_a_float_file_to_the_image(unit, folder, config):
    right, _ = independent(unit, folder, 0, 255)
    summary = evaluate_model(unit, asked(config, 0, 255))
    assert 0.5 < right.mean() < 1, "else nothing is shown"
    assert summary["top1"] == right.mean() and summary["num_examples"] == 4 * PER_CLASS
    rows = right.reshape(4, PER_CLASS).mean(1)
    assert [row["top1"] for row in summary["per_class"]] == rows.tolist()
    low, high = summary["top1_interval"]
    assert low < summary["top1"] < high and summary["top5_interval"][1] == 1


def test_post_training_quantization_to_the_image(quantized, folder, config):
    right, answers = independent(quantized, folder, 127.5, 127.5)
    for settings in (config, asked(config, 127.5, 127.5)):
        summary = evaluate_model(quantized, settings)
        assert summary["top1"] == right.mean()
        matrix = np.zeros((4, 4), int)
        np.add.at(matrix, (np.repeat(np.arange(4), PER_CLASS), answers), 1)
        assert summary["confusion"]["images"] == matrix.tolist()


def test_one_of_ours_to_the_image(float_folder, converted, tmp_path):
    file, names = converted[1]["output"], ("apple", "bear", "chair", "dog")
    images = np.random.default_rng(5).integers(0, 256, (40, 16, 16, 3), np.uint8)
    model, _ = load_float_model(float_folder)
    labels = model(to_network_input(images), training=False).numpy().argmax(1)
    for index, (image, label) in enumerate(zip(images, labels)):
        place = tmp_path / "test" / names[label if index % 3 else (label + 1) % 4]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{index}.png")
    for name in names:  # a class may have none
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.fromarray(images[0]).save(tmp_path / "train" / name / "0.png")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(file)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    right = []
    for path in (tmp_path / "test").glob("*/*.png"):
        interpreter.set_tensor(source["index"], np.asarray(Image.open(path))[np.newaxis])
        interpreter.invoke()
        answer = int(interpreter.get_tensor(sink["index"])[0].argmax())
        right.append(("background", *names)[answer] == path.parent.name)
    data = DataConfig(str(tmp_path), eval_split="test", resize_size=16)
    summary = evaluate_model(file, EvaluateConfig(data))
    assert summary["top1"] == np.mean(right) and 0 < np.mean(right) < 1
    facts = facts_for_people(summary)
    assert facts["outputs"] == "5, output 0 is a background that no image belongs to"
    assert "top5" not in facts, "of four classes it says nothing"


def test_two_models_are_compared_image_by_image(unit, quantized, folder, config, tmp_path):
    """A third that is blind to half of the classes is worse, and the test says so."""
    blind = foreign.nearest_brightness([0.0], [255.0])
    kernel, bias = blind.layers[-1].get_weights()
    blind.layers[-1].set_weights([kernel, bias - np.array([0, 0, 50, 50])])
    blind_file = str(foreign.float_file(tmp_path / "blind.tflite", blind))
    first, first_answers = independent(unit, folder, 0, 255)
    second, second_answers = independent(blind_file, folder, 0, 255)
    mine = dataclasses.replace(asked(config, 0, 255), model=unit)
    summary = run_comparison("", mine, blind_file, asked(config, 0, 255))
    assert summary["agreement"] == np.mean(first_answers == second_answers)
    b, c = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    assert (summary["only_first_right"], summary["only_second_right"]) == (b, c)
    assert summary["p_value"] < 1e-3 and summary["difference_interval"][0] > 0
    assert summary["compared_with"]["top1"] == second.mean() and summary["top1"] == first.mean()
    words = facts_for_people(summary, per_class=True)
    assert f"right alone: {b} and {c} images" in words["McNemar's test"]
    of_a = first[:PER_CLASS].mean()
    assert words["compared with"] == blind_file and words["  a"].startswith(f"{of_a:.2%} of 12")
    # Each by its own input: int8 pixels beside floats.
    same = run_comparison("", mine, quantized, config)
    assert same["agreement"] > 0.9 and same["p_value"] > 0.1


@pytest.mark.parametrize("ended_by", [KeyboardInterrupt, stopping.Terminated])
def test_an_interrupted_evaluation_says_what_it_has(unit, config, monkeypatch, capsys, ended_by):
    calls = []

    def scores(pixels):
        calls.append(len(pixels))
        if len(calls) == 5:
            raise ended_by
        return np.eye(4, dtype=np.float32)[[0] * len(pixels)]

    stand_in = Classifier("tflite", 8, 8, 4, "float32", "xnnpack", scores, None, False, {})
    monkeypatch.setattr(model_accuracy, "load_classifier", lambda *_: stand_in)
    with pytest.raises(ended_by):
        evaluate_model(unit, config)
    said = capsys.readouterr().err
    # Four batches of seven, to all of which the first class was said.
    right = list(open_config(config.data).labels_in_order("test"))[:28].count(0)
    assert "Partial figures of" in said and right > 0
    assert f"of the first 28 of 48 images only: top-1 {right / 28:.2%}" in said


def test_interrupted_before_any_image_says_nothing(unit, config, monkeypatch, capsys):
    def scores(pixels):
        raise KeyboardInterrupt

    stand_in = Classifier("tflite", 8, 8, 4, "float32", "xnnpack", scores, None, False, {})
    monkeypatch.setattr(model_accuracy, "load_classifier", lambda *_: stand_in)
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(unit, config)
    assert "Partial" not in capsys.readouterr().err


def test_batches_and_workers_change_nothing(quantized, config):
    rows = [
        evaluate_model(quantized, dataclasses.replace(config, batch_size=size, num_workers=workers))
        for size, workers in ((1, 1), (5, 2), (64, 3))
    ]
    kept = ("top1", "confusion", "per_class", "most_confused", "top5")
    assert all(all(row[key] == rows[0][key] for key in kept) for row in rows)


def test_the_command_compares(unit, quantized, folder, tmp_path):
    output = tmp_path / "o.json"
    command = [sys.executable, "-m", "export.evaluate", f"--model={quantized}", f"--dataset={folder}"]
    flags = [f"--compare_with={unit}", "--compare_input_mean=0", "--compare_input_std=255", "--per_class"]
    result = subprocess.run(
        [*command, *flags, f"--output_json={output}"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "McNemar's test" in result.stdout and "agreement" in result.stdout
    assert json.loads(output.read_text())["compared_with"]["model"] == unit
    refused = subprocess.run([*command, flags[1]], capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "are for the file of --compare_with" in refused.stderr


def test_other_models_are_refused_before_the_first_is_measured(unit, config, monkeypatch):
    monkeypatch.setattr(evaluate_run, "measure_images", None)
    mine = dataclasses.replace(asked(config, 0, 255), model=unit)
    with pytest.raises(UserError, match="There is no model '/no.tflite' to evaluate"):
        run_comparison("", mine, "/no.tflite", config)


def test_a_runs_own_file_is_the_first_model(config):
    with pytest.raises(UserError, match="There is no model '/nowhere/convert/model_int8.tflite' to evaluate"):
        run_comparison("/nowhere", config, "x.tflite", config)
