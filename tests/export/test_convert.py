"""Conversion: what is inside the file, what lies beside it, and what is refused."""

import dataclasses
import json
import pathlib
import zipfile

import numpy as np
import pytest

from export import file_facts, labels
from export.convert_run import ConvertConfig, run_convert
from nas_tf.base import cli, files
from nas_tf.base.errors import UserError
from quant import flatbuffer


def run_file(path, images):
    """Outputs of the file's own interpreter, one image at a time."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    outputs = []
    for image in images:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(sink["index"])[0])
    return np.array(outputs)


def test_summary_says_what_the_file_holds(converted):
    workdir, summary = converted
    output = pathlib.Path(summary["output"])
    assert output == workdir / "convert" / "model_int8.tflite"
    assert summary["bytes"] == output.stat().st_size
    assert summary["num_classes"] == 5
    assert summary["input"] == {
        "dtype": "uint8",
        "shape": [1, 16, 16, 3],
        "scale": pytest.approx(1 / 128),
        "zero_point": 128,
    }
    assert summary["output_tensor"]["shape"] == [1, 5]
    assert summary["kernel_min_fill"] == 127
    assert summary["background_margin_steps"] >= 32
    assert json.loads((workdir / "convert" / "summary.json").read_text()) == summary


def test_every_tensor_inside_is_an_integer(converted):
    graph = flatbuffer.read_file(converted[1]["output"]).main
    assert {t.dtype for t in graph.tensors} <= {"uint8", "int8", "int32"}
    kernels = [graph.tensors[o.inputs[1]] for o in graph.operators if o.name == "DEPTHWISE_CONV_2D"]
    assert len(kernels) == 2
    for kernel in kernels:  # every channel has its own range: its largest magnitude is 127
        assert (np.abs(kernel.values.astype(int)).max(axis=(0, 1, 2)) == 127).all()


def test_labels_start_with_background(converted):
    output = pathlib.Path(converted[1]["output"])
    expected = ("background", "apple", "bear", "chair", "dog")
    assert (output.parent / "labels.txt").read_text().splitlines() == list(expected)
    assert labels.read_appended(output) == expected


def test_a_second_file_in_a_folder_leaves_the_labels_of_the_first(qat_folder, tmp_path):
    with_background, without = tmp_path / "with.tflite", tmp_path / "without.tflite"
    first = run_convert("", ConvertConfig(str(qat_folder), str(with_background)))
    second = run_convert("", ConvertConfig(str(qat_folder), str(without), num_classes=4))
    assert first["labels"] == str(tmp_path / "with_labels.txt")
    assert pathlib.Path(first["labels"]).read_text().splitlines()[0] == "background"
    assert pathlib.Path(second["labels"]).read_text() == "apple\nbear\nchair\ndog\n"


def test_labels_of_someone_else_are_not_overwritten(qat_folder, tmp_path):
    for config, workdir, name in (
        (ConvertConfig(str(qat_folder), str(tmp_path / "m.tflite")), "", "m_labels.txt"),
        (ConvertConfig(str(qat_folder)), str(tmp_path), "convert/labels.txt"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("precious\n")
        with pytest.raises(UserError, match=f"{name}' exists and holds other labels"):
            run_convert(workdir, config)
        assert (tmp_path / name).read_text() == "precious\n"
    assert not list(tmp_path.glob("**/*.tflite"))


def test_a_stage_that_ended_keeps_the_name_of_its_labels(qat_folder, tmp_path):
    """Runs from before labels were named after the file have labels.txt beside it."""
    config = ConvertConfig(str(qat_folder), str(tmp_path / "m.tflite"))
    run_convert(str(tmp_path), config)
    path = tmp_path / "convert" / "summary.json"
    summary = json.loads(path.read_text()) | {"labels": str(tmp_path / "labels.txt")}
    path.write_text(json.dumps(summary))
    assert run_convert(str(tmp_path), config)["labels"] == str(tmp_path / "labels.txt")


def test_the_file_computes_what_the_simulation_computes(converted, qat_folder, noise_images):
    from quant.model import load_qat_model

    images = noise_images(48, seed=9)
    model, _ = load_qat_model(qat_folder)
    expected = model((images.astype(np.float32) - 128) / 128).numpy()
    tensor = converted[1]["output_tensor"]
    outputs = run_file(converted[1]["output"], images)
    logits = tensor["scale"] * (outputs.astype(np.float64) - tensor["zero_point"])
    steps = np.abs(logits[:, 1:] - expected) / tensor["scale"]
    assert (steps < 2.5).mean() > 0.95
    assert (outputs.argmax(1) > 0).all()


def test_the_same_command_again_changes_nothing(converted, qat_folder):
    workdir, summary = converted
    before = pathlib.Path(summary["output"]).stat().st_mtime_ns
    assert run_convert(str(workdir), ConvertConfig(model=str(qat_folder))) == summary
    assert pathlib.Path(summary["output"]).stat().st_mtime_ns == before


def test_killed_before_the_summary_it_goes_on(converted, qat_folder, monkeypatch, tmp_path):
    """The file was placed, the summary was not: the next run knows the file as its own."""
    workdir = tmp_path / "run"
    config = ConvertConfig(model=str(qat_folder))
    content = pathlib.Path(converted[1]["output"]).read_bytes()
    facts = {"background_source": 0, "background_margin_steps": 2.0}
    monkeypatch.setattr("export.convert_run.convert_model", lambda *_: (content, facts))

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nas_tf.base.run_folder.StageFolder.write_summary", die)
        with pytest.raises(KeyboardInterrupt):
            run_convert(str(workdir), config)
    assert (workdir / "convert" / "model_int8.tflite").exists()
    summary = run_convert(str(workdir), config)
    assert pathlib.Path(summary["output"]).stat().st_size == summary["bytes"]


def test_a_file_of_someone_else_is_not_overwritten(qat_folder, tmp_path):
    output = tmp_path / "precious.tflite"
    output.write_text("precious")
    config = ConvertConfig(model=str(qat_folder), output=str(output))
    for workdir in (str(tmp_path / "run"), ""):
        with pytest.raises(UserError, match="precious.tflite' exists and was not written by"):
            run_convert(workdir, config)
    assert output.read_text() == "precious"
    assert not (tmp_path / "labels.txt").exists()


@pytest.mark.parametrize("count", [3, 6, 1001])
def test_a_class_count_that_does_not_fit_is_refused(qat_folder, tmp_path, count):
    message = rf"--num_classes={count} .* has 4 classes; allowed: 5 .*4 "
    with pytest.raises(UserError, match=message):
        run_convert(str(tmp_path), ConvertConfig(model=str(qat_folder), num_classes=count))
    assert list(tmp_path.iterdir()) == []


def test_a_float_model_is_refused_as_int8(float_folder, tmp_path):
    with pytest.raises(UserError, match="float model.*float32 only, not uint8.*quant.finetune"):
        run_convert(str(tmp_path), ConvertConfig(model=str(float_folder)))


def test_no_model_yet(tmp_path):
    with pytest.raises(UserError, match="finetune/model' is not a model folder"):
        run_convert(str(tmp_path), ConvertConfig())


def test_other_settings_in_the_same_workdir_are_refused(converted, qat_folder):
    with pytest.raises(UserError, match="holds a run with other settings .*num_classes"):
        run_convert(str(converted[0]), ConvertConfig(model=str(qat_folder), num_classes=4))


def test_a_float_file_computes_what_keras_computes(float_folder, tmp_path, noise_images):
    from nas_tf.network.model_folder import load_float_model

    output = tmp_path / "new" / "float.tflite"
    summary = run_convert("", ConvertConfig(str(float_folder), str(output), 0, "float32", "float32"))
    assert summary["input"] == {"dtype": "float32", "shape": [1, 16, 16, 3]}
    x = (noise_images(8, seed=2).astype(np.float32) - 128) / 128
    logits = run_file(output, x)
    expected = load_float_model(float_folder)[0](x).numpy()
    np.testing.assert_allclose(logits[:, 1:], expected, atol=1e-4)
    assert (logits.argmax(1) > 0).all()


def test_without_background_the_classes_stay(qat_folder, tmp_path):
    config = ConvertConfig(str(qat_folder), "", 4, "int8", "float32")
    summary = run_convert(str(tmp_path), config)
    assert summary["background_source"] is None and summary["background_margin_steps"] is None
    assert (tmp_path / "convert" / "labels.txt").read_text() == "apple\nbear\nchair\ndog\n"
    assert summary["input"]["zero_point"] == 0
    graph = flatbuffer.read_file(summary["output"]).main
    floats = [t.index for t in graph.tensors if t.is_float]
    assert floats == list(graph.outputs)  # the only float is what was asked for


def test_equal_biases_cannot_make_a_tie(save_quantized, tmp_path, noise_images):
    """Where the paper's gap is zero the bias is lowered until the file's integers differ."""

    def flatten(model):
        model.get_layer("logits").bias.assign([0.25, 0.25, 0.25, 0.25])

    folder = save_quantized(tmp_path / "model", flatten)
    summary = run_convert(
        str(tmp_path / "run"), ConvertConfig(model=str(folder), seed=3, background_margin_steps=1.05)
    )
    assert 1.05 <= summary["background_margin_steps"] < 2.5
    assert summary["background_bias"] < 0.25
    outputs = run_file(summary["output"], noise_images(64, seed=4)).astype(int)
    source = outputs[:, 1 + summary["background_source"]]
    inside = source < 255  # an output at the end of its range cannot be told from its neighbours
    assert (source - outputs[:, 0])[inside].min() >= 1
    assert inside.mean() > 0.9


def test_a_label_archive_that_unpacks_to_gigabytes_is_refused(tmp_path):
    bomb = tmp_path / "bomb.tflite"
    bomb.write_bytes(b"TFL3")
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", b"\0" * (labels._MAX_BYTES + 1))
    with pytest.raises(UserError, match="'labels.txt' inside .* is longer than"):
        labels.read_appended(bomb)
    assert labels.read_appended(__file__) is None


@pytest.mark.parametrize(
    "entry",
    [
        "no json",
        "[]",
        '{"format": "nas_tf.file/2"}',
        '{"format": "nas_tf.file/1", "input_mean": "x"}',
        '{"format": "nas_tf.file/1", "input_mean": 0, "input_std": 0, "resize_size": 1, "named": true}',
        " " * (file_facts._MAX_BYTES + 1),
    ],
)
def test_damaged_notes_are_refused(tmp_path, entry):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"TFL3")
    assert file_facts.read(path) is None
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("nas_tf.json", entry)
    with pytest.raises(UserError, match="nas_tf.json'? inside '.*m.tflite' is (not of format|longer than)"):
        file_facts.read(path)


def test_command_needs_a_place(capsys, monkeypatch):
    import export.convert

    monkeypatch.setattr("sys.argv", ["convert", "--model=somewhere"])
    with pytest.raises(SystemExit) as ended:
        cli.run(export.convert.main)
    assert ended.value.code == 1
    assert "Give --workdir, or both --model and --output." in capsys.readouterr().err


def test_config_is_plain_data(tmp_path):
    """Settings survive JSON, so that a run can be compared with what it is asked for."""
    config = ConvertConfig(model="m", num_classes=11)
    files.write_json(tmp_path / "c.json", dataclasses.asdict(config))
    assert ConvertConfig(**files.read_json(tmp_path / "c.json", "settings")) == config
