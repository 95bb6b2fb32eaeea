"""What other resizers cost: against Pillow's pixels run through the network here, and what a card says."""

import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from export import evaluate_run, model_accuracy, resize_comparison
from export.classifier import Classifier
from export.convert_run import ConvertConfig, run_convert
from export.evaluate_config import EvaluateConfig
from export.file_check import synthetic_images
from export.model_accuracy import evaluate_model
from export.tally import wilson
from nas_tf.base import files
from nas_tf.base.errors import UserError
from nas_tf.data import preprocess
from nas_tf.data.config import DataConfig
from nas_tf.data.resize_methods import METHODS, OTHERS

NAMES = ("apple", "bear", "chair", "dog")
COUNT, HEIGHT, WIDTH = 48, 33, 51


@pytest.fixture(scope="module", name="photos")
def _photos():
    """Blobs of every size and noise: of noise alone the network always thinks the same."""
    return synthetic_images(COUNT, WIDTH, seed=5)[:, :HEIGHT]


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory, photos):
    root = tmp_path_factory.mktemp("photos")
    for index, photo in enumerate(photos):
        place = root / "test" / NAMES[index % 4]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(place / f"{index:02}.png")
    return root


@pytest.fixture(scope="module", name="config")
def _config(folder):
    return EvaluateConfig(DataConfig(str(folder)), batch_size=16)


def nearest_square(photo):
    left = (WIDTH - HEIGHT) // 2
    square = Image.fromarray(photo[:, left : left + HEIGHT])
    return np.asarray(square.resize((16, 16), Image.Resampling.NEAREST))


def contract(photo):
    return preprocess.evaluation_image(photo, 16, 18).numpy()


def sensitive(images):
    """Scores [N, 4] by the sum of all pixels: any other resize gives many other answers."""
    return np.eye(4)[images.astype(np.int64).sum(axis=(1, 2, 3)) // 7 % 4]


def answers(photos, prepare):
    return sensitive(np.stack([prepare(photo) for photo in photos])).argmax(1)


@pytest.fixture(name="model")
def _model(monkeypatch):
    """A model whose answers are known without a network."""
    stand_in = Classifier("float", 16, 18, 4, "float32", "", sensitive, NAMES, True, {})
    monkeypatch.setattr(model_accuracy, "load_classifier", lambda model, config: stand_in)
    return "stand-in"


def test_rows_are_what_pillows_pixels_give(model, config, photos):
    labels = np.arange(COUNT) // (COUNT // 4)  # files are read class by class
    in_order = np.concatenate([photos[first::4] for first in range(4)])
    own, other = answers(in_order, contract), answers(in_order, nearest_square)
    assert 0.05 < np.mean(own == other) < 0.8, "else the figures below could not tell anything"
    summary = resize_comparison.compare_resizes(model, config, ("square_nearest",))
    (row,) = summary["resizes"]
    assert row["resize_method"] == "square_nearest" and "16 × 16" in row["resize"]
    assert row["agreement"] == np.mean(own == other)
    assert summary["top1"] == np.mean(own == labels)
    right = int(np.sum(other == labels))
    assert row["top1"] == right / COUNT and tuple(row["top1_interval"]) == wilson(right, COUNT)
    assert row["difference"] == pytest.approx(row["top1"] - summary["top1"])
    assert row["only_first_right"] - row["only_second_right"] == round(COUNT * row["difference"])


def test_one_resize_alone_gives_the_same(model, config):
    summary = resize_comparison.compare_resizes(model, config, OTHERS)
    assert [row["resize_method"] for row in summary["resizes"]] == list(OTHERS)
    assert summary["resize_method"] == "antialias" and summary["resizes_note"] == ""
    for row in summary["resizes"][::3]:
        alone = evaluate_model(model, dataclasses.replace(config, resize_method=row["resize_method"]))
        assert alone["top1"] == row["top1"] and alone["resize_method"] == row["resize_method"]
        shown = evaluate_run.facts_for_people(alone)["images"]
        assert f"--resize_method={row['resize_method']}: {row['resize']}" in shown
    lines = resize_comparison.facts_for_people(summary)
    assert len(lines) == len(OTHERS) and all("same answer for" in line for line in lines.values())


def test_images_of_the_inputs_size_are_said_to_tell_little(model, photos, tmp_path):
    (tmp_path / "test").mkdir()
    for name in NAMES:
        (tmp_path / "test" / name).mkdir()
        Image.fromarray(photos[0][:16, :16]).save(tmp_path / "test" / name / "0.png")
    config = EvaluateConfig(DataConfig(str(tmp_path), resize_size=16))
    summary = resize_comparison.compare_resizes(model, config, OTHERS)
    assert all(row["agreement"] == 1 and row["p_value"] == 1 for row in summary["resizes"])
    assert "the input's size already" in summary["resizes_note"]


@pytest.mark.parametrize(
    "names, message",
    [
        (("bilinear", "bicubic"), "--compare_resizes has 'bicubic'; allowed: antialias, area, "),
        (("bilinear", "bilinear"), "names each resize once"),
        (("antialias",), "and not antialias, with which all of them are compared"),
    ],
)
def test_names_that_cannot_be_compared(names, message):
    with pytest.raises(UserError, match=message):
        resize_comparison.chosen(names)


def test_all_are_all_others():
    assert set(resize_comparison.chosen(["all"])) == set(METHODS) - {"antialias"}
    assert resize_comparison.chosen([]) == ()


def test_a_comparison_starts_from_the_contract(config):
    other = dataclasses.replace(config, resize_method="squash")
    with pytest.raises(UserError, match="--resize_method=squash does not go with --compare_resizes"):
        resize_comparison.compare_resizes("any", other, ("nearest",))


@pytest.fixture(scope="module", name="run")
def _run(float_folder, qat_folder, config, tmp_path_factory):
    """A run folder with a converted file and its comparison."""
    root = tmp_path_factory.mktemp("run")
    shutil.copytree(float_folder, root / "train" / "model")
    shutil.copytree(qat_folder, root / "finetune" / "model")
    run_convert(str(root), ConvertConfig())
    return root, resize_comparison.run_resizes(str(root), config, ("bilinear", "squash"))


def card(root):
    return (root / "convert" / "model_card.md").read_text(encoding="utf-8")


def test_the_card_says_what_other_resizes_cost(run):
    root, summary = run
    text = card(root)
    for row in summary["resizes"]:
        low, high = row["difference_interval"]
        cells = (
            f"{100 * row['difference']:+.2f} ({100 * low:+.2f} to {100 * high:+.2f}) | {row['agreement']:.2%}"
        )
        assert f"| `{row['resize_method']}`: {row['resize']} | {cells} |" in text
    assert f"Beside {summary['top1']:.2%} with this file's own resize, on {COUNT} images" in text
    assert "was measured with this resize." in text


def test_it_is_kept_and_belongs_to_its_settings(run, config, monkeypatch):
    root, summary = run

    def fail(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(resize_comparison, "measure_images", fail)
    assert resize_comparison.run_resizes(str(root), config, ("bilinear", "squash")) == summary
    with pytest.raises(UserError, match="compare_resizes"):
        resize_comparison.run_resizes(str(root), config, ("nearest",))


def test_of_another_file_the_card_says_nothing(run, save_quantized, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(run[0], root, ignore=shutil.ignore_patterns("convert"))
    other = save_quantized(tmp_path / "other", lambda m: m.get_layer("logits").bias.assign([0, 1, 2, 3]))
    run_convert(str(root), ConvertConfig(model=str(other)))
    assert "same answers" not in card(root) and "--compare_resizes=all` says what they cost" in card(root)


def test_the_card_says_that_accuracy_was_measured_with_another_resize(run, config, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(run[0], root)
    evaluate_run.run_evaluate(str(root), dataclasses.replace(config, resize_method="squash_bilinear"))
    assert (
        files.read_json(root / "evaluate" / "summary.json", "s")["float"]["resize_method"]
        == "squash_bilinear"
    )
    from export import model_card

    model_card.update(str(root))
    words = "the whole image squashed to 16 × 16 pixels, bilinear, not antialiased"
    assert f"not measured with this resize, but with `squash_bilinear`: {words}." in card(root)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--resize_method=cubic"], "resize_method"),
        (["--compare_resizes=cubic"], "--compare_resizes has 'cubic'"),
        (["--compare_resizes=all", "--compare_with=b.tflite"], "two comparisons; give one"),
    ],
)
def test_the_command_refuses(flags, message, tmp_path):
    call = [sys.executable, "-m", "export.evaluate", "--model=m.tflite", *flags]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 1 and message in done.stderr + done.stdout
