"""Labels and probabilities of image files, by this command and by the script that docs/deploy.md shows."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from export import predict_run
from export.convert_run import ConvertConfig, run_convert
from export.predict_run import PredictConfig, predict, table_for_people
from export.tflite_classifier import TFLiteClassifier
from nas_tf.base.errors import UserError
from nas_tf.network.model_folder import load_float_model
from tests.export import foreign_models as foreign

ROOT = pathlib.Path(__file__).parents[2]
LABELS = ["background", "apple", "bear", "chair", "dog"]


@pytest.fixture(scope="module", name="photos")
def _photos(tmp_path_factory):
    """Images of 18 pixels, which the model crops to 16: a PNG, a BMP, and a PNG lying on its side."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    pixels = random.integers(0, 256, (3, 18, 18, 3), np.uint8)
    paths = [root / name for name in ("a.png", "b.bmp", "side.png")]
    for path, image in zip(paths[:2], pixels):
        Image.fromarray(image).save(path)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by a quarter
    Image.fromarray(np.rot90(pixels[2])).save(paths[2], exif=exif)
    return [str(path) for path in paths], pixels


def by_hand(file, pixels):
    """Probabilities [N, 5] from the interpreter alone: dequantized by its own numbers."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = sink["quantization"]
    found = []
    for image in pixels[:, 1:17, 1:17]:
        interpreter.set_tensor(source["index"], image[np.newaxis])
        interpreter.invoke()
        logits = scale * (interpreter.get_tensor(sink["index"])[0].astype(np.float64) - zero_point)
        found.append(np.exp(logits) / np.exp(logits).sum())
    return np.array(found)


def test_a_file_says_what_its_interpreter_says(converted, photos):
    file, (paths, pixels) = converted[1]["output"], photos
    summary = predict(paths, PredictConfig(file, top=5))
    assert (summary["resolution"], summary["resize_size"]) == (16, 18)
    for image, path, expected in zip(summary["images"], paths, by_hand(file, pixels)):
        assert image["file"] == path
        rows = image["predictions"]
        assert [row["label"] for row in rows] == [LABELS[row["index"]] for row in rows]
        np.testing.assert_allclose([r["probability"] for r in rows], np.sort(expected)[::-1], rtol=1e-9)
        np.testing.assert_allclose([expected[r["index"]] for r in rows], np.sort(expected)[::-1], rtol=1e-9)
        assert sum(row["probability"] for row in rows) == pytest.approx(1)
    text = table_for_people(summary).splitlines()
    assert len(text) == 3 * 6 and text[0] == paths[0] and "%" in text[1]


def test_a_model_folder_is_taken_too(float_folder, photos):
    paths, pixels = photos
    model, _ = load_float_model(float_folder)
    logits = model((pixels[:1, 1:17, 1:17].astype(np.float32) - 128) / 128, training=False).numpy()[0]
    (image,) = predict(paths[:1], PredictConfig(str(float_folder), top=1))["images"]
    (row,) = image["predictions"]
    exponentials = np.exp(logits.astype(np.float64))
    assert row["index"] == logits.argmax() and row["label"] == LABELS[row["index"] + 1]
    assert row["probability"] == pytest.approx(exponentials.max() / exponentials.sum(), rel=1e-4)


def test_probabilities_are_not_put_through_softmax_again(tmp_path):
    """A file that ends in softmax, as many do, and one without labels."""
    import tf_keras as keras

    plain = foreign.nearest_brightness([0.0], [255.0])
    model = keras.Model(plain.input, keras.layers.Softmax()(plain.output))
    with_softmax = foreign.float_file(tmp_path / "s.tflite", model)
    without = foreign.float_file(tmp_path / "p.tflite", plain)
    Image.new("RGB", (8, 8), (160, 160, 160)).save(tmp_path / "i.png")
    asked = {"resize_size": 8, "input_mean": ("0",), "input_std": ("255",)}
    rows = [
        predict([str(tmp_path / "i.png")], PredictConfig(str(file), top=4, **asked))["images"][0][
            "predictions"
        ]
        for file in (with_softmax, without)
    ]
    assert rows[0][0]["label"] == "class 2" and "words" not in rows[0][0]
    np.testing.assert_allclose(*([row["probability"] for row in r] for r in rows), rtol=1e-4)


def test_imagenets_ids_are_shown_with_words(qat_folder, photos, tmp_path):
    import shutil

    shutil.copytree(qat_folder, tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    ids = ["n01440764", "n01443537", "n02123045", "n02099601"]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": ids}))
    file = tmp_path / "m.tflite"
    run_convert("", ConvertConfig(str(tmp_path / "model"), str(file)))
    rows = predict(photos[0][:1], PredictConfig(str(file)))["images"][0]["predictions"]
    words = {row["label"]: row["words"] for row in rows}
    assert words["n02099601"] == "golden retriever" and words["background"] == "background"
    assert TFLiteClassifier(file).labels == ("background", *ids), "matching goes by the dataset's own names"


def test_what_is_no_image_is_refused_before_the_model_is_opened(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_run, "load_classifier", None)
    (tmp_path / "note.jpg").write_text("a letter")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "g.gif")
    bad = [str(tmp_path / name) for name in ("note.jpg", "g.gif", "absent.png")] + [str(tmp_path)]
    with pytest.raises(UserError) as refused:
        predict([photos[0][0], *bad], PredictConfig("m.tflite"))
    said = str(refused.value)
    assert said.startswith("4 of 5 images cannot be read: ") and "\n" not in said
    for part in (
        "note.jpg' (it is no image)",
        "format GIF",
        "absent.png' (there is no such file)",
        "a folder",
    ):
        assert part in said
    with pytest.raises(UserError, match="Name at least one image file"):
        predict([], PredictConfig("m.tflite"))


def test_a_resize_below_the_input_is_refused(converted, photos):
    with pytest.raises(UserError, match="--resize_size=15 is smaller than the model's input of 16 pixels"):
        predict(photos[0], PredictConfig(converted[1]["output"], resize_size=15))


def test_command_and_the_documented_script_agree(converted, photos, tmp_path):
    """docs/deploy.md: the same labels and probabilities from `ai_edge_litert`, NumPy and Pillow alone."""
    file, output = converted[1]["output"], tmp_path / "p.json"
    command = [sys.executable, "-m", "export.predict", photos[0][0], f"--model={file}", "--top=3"]
    result = subprocess.run(
        [*command, f"--output_json={output}"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    rows = json.loads(output.read_text())["images"][0]["predictions"]
    assert len(rows) == 3 and f"{rows[0]['probability']:.2%}" in result.stdout
    script = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.S).group(1)
    assert "nas_tf " not in script and "import nas_tf" not in script
    (tmp_path / "classify.py").write_text(script)
    shown = subprocess.run(
        [sys.executable, "classify.py", file, photos[0][0]],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    ).stdout.splitlines()
    assert len(shown) == 5
    for line, row in zip(shown, rows):
        probability, label = line.split()
        assert label == row["label"] and float(probability.rstrip("%")) == pytest.approx(
            100 * row["probability"], abs=0.006
        )


def test_files_need_a_model_and_flags_may_stand_behind_them(photos):
    result = subprocess.run(
        [sys.executable, "-m", "export.predict", photos[0][0]], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1 and result.stderr.strip() == "error: Give --model."
