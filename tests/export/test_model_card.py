"""The model card: what was measured and what was not, said of this file and of no other."""

import json
import re
import shutil

import pytest

from export import model_card
from export.convert_run import ConvertConfig, run_convert
from export.report_run import write_report
from export.tally import wilson
from nas_tf.base import files
from nas_tf.base.errors import UserError


@pytest.fixture(scope="module", name="run")
def _run(float_folder, qat_folder, tmp_path_factory):
    """A run folder with a converted file, and settings as training and fine-tuning leave them."""
    root = tmp_path_factory.mktemp("run")
    shutil.copytree(float_folder, root / "train" / "model")
    shutil.copytree(qat_folder, root / "finetune" / "model")
    data = {"dataset": "/home/someone/fruit", "train_split": "train[:90%]"}
    files.write_json(root / "train" / "settings.json", {"data": data})
    files.write_json(root / "train" / "summary.json", {"epochs": 7, "train_images": 1234, "top1": 0.9})
    files.write_json(root / "finetune" / "settings.json", {"calibration_images": 55, "steps": 66})
    summary = run_convert(str(root), ConvertConfig(author="A. Maker", version="3", license="CC BY 4.0"))
    return root, summary


MEASURED = {
    "model": "m.tflite",
    "dataset": "/home/someone/fruit",
    "split": "test",
    "top1": 0.75,
    "top5": 1.0,
    "num_examples": 40,
    "background_class": True,
    "background_predictions": 3,
    "kernels": "xnnpack",
}
TIMED = {
    "median_ms": 12.34567,
    "device": "Pixel 2",
    "num_threads": 1,
    "runtime": "benchmark_model abc",
    "kernels": "xnnpack",
    "backend": "adb",
}


def text(run):
    return (run / "convert" / "model_card.md").read_text()


def test_a_conversion_writes_it_and_says_what_is_not_known_yet(run):
    root, summary = run
    assert summary["model_card"] == str(root / "convert" / "model_card.md")
    card = text(root)
    assert card.count("Not measured yet: `python -m export.") == 2
    assert "Not measured; `python -m export.evaluate --compare_resizes=all`" in card
    assert "version 3" in card and "| author | A. Maker |" in card and "| licence | CC BY 4.0 |" in card
    assert f"`{files.sha256(summary['output'])}`" in card and f"{summary['bytes']:,} bytes" in card
    assert "| resize | short side to 18 pixels, bilinear, antialiased |" in card
    assert "| crop | 16 × 16 pixels at the center |" in card
    assert "| classes | background, apple, bear, chair, dog |" in card
    assert "`fruit`, split `train[:90%]`, 1,234 images" in card and "for 7 epochs" in card
    assert "55 images to set the ranges and 66 steps" in card
    assert "Its latency was not measured on a phone." in card
    headings = re.findall(r"^## (.*)$", card, re.M)
    assert headings == [
        "File",
        "Input",
        "Output",
        "Accuracy",
        "Other resizes",
        "Latency",
        "Data",
        "How it was made",
        "Limits",
    ]


def test_killed_before_the_card_the_same_command_writes_it(run, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(run[0], root)
    (root / "convert" / "model_card.md").unlink()
    config = ConvertConfig(author="A. Maker", version="3", license="CC BY 4.0")
    summary = run_convert(str(root), config)
    assert summary["model_card"] == str(root / "convert" / "model_card.md") and "A. Maker" in text(root)


def test_a_report_fills_in_what_was_measured(run, tmp_path):
    root = tmp_path / "moved"  # its summaries name the old place
    shutil.copytree(run[0], root)
    qat = MEASURED | {"top1": 0.8, "kernels": ""}
    per_class = [
        {"label": name, "examples": 10, "top1": share}
        for name, share in (("apple", 0.9), ("bear_*", 0.2), ("chair", 0.8), ("dog", 1.0))
    ]
    whole = MEASURED | {"int8": MEASURED, "qat": qat, "per_class": per_class}
    files.write_json(root / "evaluate" / "summary.json", whole)
    files.write_json(root / "benchmark" / "summary.json", TIMED)
    write_report(str(root))
    card = text(root)
    low, high = wilson(30, 40)
    assert f"| this file | 75.00% ({low:.2%} to {high:.2%}) | 100.00% | 40 | xnnpack |" in card
    assert "| its simulation | 80.00% (" in card and "Images taken for background: 3." in card
    assert r"Weakest classes: bear\_\* 20% of 10, chair 80% of 10, apple 90% of 10." in card
    assert "| median | 12.35 ms for one image |" in card and "Pixel 2, 1 thread(s)" in card
    # A card is shared: where a folder lies on its maker's machine is left out.
    assert "Measured on `fruit`, split `test`" in card and "someone" not in card
    assert "not measured on a phone" not in card and "Not measured yet" not in card
    assert text(run[0]) != card, "the first run's own card is left alone"


def test_a_file_of_another_network_is_not_said_to_be_of_this_run(run, save_quantized, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(run[0], root, ignore=shutil.ignore_patterns("convert"))
    other = save_quantized(tmp_path / "other", lambda m: m.get_layer("logits").bias.assign([0, 1, 2, 3]))
    run_convert(str(root), ConvertConfig(model=str(other)))
    card = text(root)
    assert "fruit" not in card and "7 epochs" not in card and "Not known to this file" in card


def test_a_card_beside_a_named_file_and_none_written_over(qat_folder, tmp_path, monkeypatch):
    output = tmp_path / "m.tflite"
    mine = tmp_path / "m_model_card.md"
    mine.write_text("# My own words\n")
    with pytest.raises(UserError, match="m_model_card.md' exists and is no model card of ours; name another"):
        run_convert("", ConvertConfig(str(qat_folder), str(output)))
    assert not output.exists() and mine.read_text() == "# My own words\n"
    mine.write_text(model_card.MARK + "\nold\n")
    summary = run_convert("", ConvertConfig(str(qat_folder), str(output)))
    assert summary["model_card"] == str(mine) and "Not known to this file" in mine.read_text()


def test_runs_without_a_file_have_none(run, tmp_path):
    assert model_card.update(str(tmp_path)) is None
    shutil.copytree(run[0], tmp_path / "run")
    (tmp_path / "run" / "convert" / "model_int8.tflite").unlink()
    held = json.loads((tmp_path / "run" / "convert" / "summary.json").read_text())
    held["output"] = "gone.tflite"
    files.write_json(tmp_path / "run" / "convert" / "summary.json", held)
    assert model_card.update(str(tmp_path / "run")) is None


def test_a_file_of_an_earlier_version_gets_one(run, tmp_path):
    """Without metadata, without crop, without card in its summary."""
    root = tmp_path / "run"
    shutil.copytree(run[0], root)
    (root / "convert" / "model_card.md").unlink()
    held = json.loads((root / "convert" / "summary.json").read_text())
    del held["model_card"]
    files.write_json(root / "convert" / "summary.json", held)
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    from export import archive, labels

    file = root / "convert" / "model_int8.tflite"
    names, model = (
        labels.read_appended(file),
        schema.ModelT.InitFromObj(schema.Model.GetRootAs(file.read_bytes(), 0)),
    )
    model.metadata = [entry for entry in model.metadata if entry.name != b"TFLITE_METADATA"]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    file.write_bytes(bytes(builder.Output()))
    labels.append(file, names)
    old = {
        "format": "nas_tf.file/1",
        "input_mean": 128.0,
        "input_std": 128.0,
        "resize_size": 18,
        "named": True,
    }
    archive.append(file, "nas_tf.json", json.dumps(old))
    card = model_card.update(str(root)).read_text()
    assert "# model_int8" in card and "| crop | 16 × 16 pixels" in card
