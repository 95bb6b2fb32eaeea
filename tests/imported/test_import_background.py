"""Networks with a background class among their outputs, and the input scaling that is asked for."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from nas_tf.base import files
from nas_tf.base.errors import UserError
from nas_tf.data.config import NO_AUGMENTATION, DataConfig
from nas_tf.imported.import_run import ImportConfig, drops_background, run_import
from nas_tf.network import model_folder
from tests.imported import torch_writer
from tests.imported.test_import_run import random_tensors, reference_logits
from tests.imported.test_proxyless_config import small_config


def published(folder, outputs: int) -> tuple[tuple[str, str], dict[str, np.ndarray]]:
    """(configuration and checkpoint of a small network with so many outputs, its tensors)."""
    config = small_config()
    config["classifier"]["out_features"] = outputs
    random = np.random.default_rng(5)
    tensors = random_tensors() | {
        "classifier.linear.weight": random.normal(size=(outputs, 24)).astype(np.float32),
        "classifier.linear.bias": random.normal(size=outputs).astype(np.float32),
    }
    files.write_json(folder / "net.json", config)
    (folder / "net.pth").write_bytes(torch_writer.zip_bytes(torch_writer.as_views(tensors)))
    return (str(folder / "net.json"), str(folder / "net.pth")), tensors


@pytest.mark.parametrize("outputs, background", [(1001, "auto"), (11, "first")])
def test_the_background_is_dropped_and_the_other_logits_stay(tmp_path, outputs, background):
    paths, tensors = published(tmp_path, outputs)
    summary = run_import(str(tmp_path / "run"), ImportConfig(*paths, "half", background=background))
    assert summary["background_dropped"] is True and summary["num_classes"] == outputs - 1
    model, description = model_folder.load_float_model(summary["model"])
    assert description.labels[:2] == ("0", "1") and len(description.labels) == outputs - 1
    assert not description.has_background
    image = np.random.default_rng(3).integers(0, 256, (32, 32, 3))
    ours = model((image[None].astype(np.float32) - 128) / 128).numpy()[0]
    theirs = reference_logits(tensors, image / 127.5 - 1)
    np.testing.assert_allclose(ours, theirs[1:], atol=3e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "outputs, background, dropped",
    [
        (1001, "auto", True),
        (1000, "auto", False),
        (11, "auto", False),
        (1001, "none", False),
        (11, "first", True),
    ],
)
def test_which_networks_lose_an_output(outputs, background, dropped):
    assert drops_background(background, outputs) is dropped


def test_an_import_with_background_is_fine_tuned_and_converted_with_one_background(tmp_path):
    from export.convert_run import ConvertConfig, run_convert
    from quant.finetune_config import FinetuneConfig
    from quant.finetune_run import run_finetune

    paths, _ = published(tmp_path, 11)
    workdir = str(tmp_path / "run")
    names = tmp_path / "names.txt"
    names.write_text("background\n" + "".join(f"{i}\n" for i in range(10)))
    run_import(workdir, ImportConfig(*paths, "half", labels=str(names), background="first"))
    data = DataConfig("digits", train_split="train[:32]", eval_split="test[:16]")
    run_finetune(workdir, FinetuneConfig(data, NO_AUGMENTATION, rounding="nearest", calibration_images=16))
    summary = run_convert(workdir, ConvertConfig())
    assert summary["num_classes"] == 11 and summary["checked_differing"] == 0.0
    lines = pathlib.Path(summary["labels"]).read_text().splitlines()
    assert lines == ["background", *map(str, range(10))]


def test_without_dropping_fine_tuning_says_what_to_do(tmp_path):
    from quant.finetune_config import FinetuneConfig
    from quant.finetune_run import run_finetune

    paths, _ = published(tmp_path, 11)
    run_import(str(tmp_path / "run"), ImportConfig(*paths, "half"))
    with pytest.raises(
        UserError,
        match="has 11 classes, but the dataset 'digits' has 10, one less: "
        "if the model's first is background, import it again with --background=first",
    ):
        run_finetune(str(tmp_path / "run"), FinetuneConfig(DataConfig("digits"), NO_AUGMENTATION))


def test_a_first_label_that_is_no_background_is_refused(tmp_path):
    paths, _ = published(tmp_path, 5)
    names = tmp_path / "names.txt"
    names.write_text("tench\ngoldfish\nshark\nray\nhen\n")
    config = ImportConfig(*paths, "half", labels=str(names), background="first")
    with pytest.raises(
        UserError, match="dropped as background, but .*names.txt' calls it 'tench'; give --background=none"
    ):
        run_import(str(tmp_path / "run"), config)
    names.write_text("goldfish\nshark\nray\nhen\n")  # the classes alone
    summary = run_import(str(tmp_path / "run"), config)
    assert model_folder.read_description(summary["model"]).labels == ("goldfish", "shark", "ray", "hen")
    names.write_text("goldfish\nshark\n")
    with pytest.raises(UserError, match="has 2 lines; the network has 4 classes without background"):
        run_import(str(tmp_path / "other"), config)


def test_a_folder_of_an_older_version_is_still_that_run(tmp_path):
    paths, _ = published(tmp_path, 5)
    config = ImportConfig(*paths, "half")
    summary = run_import(str(tmp_path / "run"), config)
    path = tmp_path / "run" / "train" / "settings.json"
    settings = json.loads(path.read_text())
    del settings["imported"]["background"]
    assert settings == {
        "imported": {
            "config": paths[0],
            "checkpoint": paths[1],
            "input_scaling": "half",
            "resolution": 0,
            "resize_size": 0,
            "labels": "",
        }
    }  # what they wrote
    path.write_text(json.dumps(settings))
    assert run_import(str(tmp_path / "run"), config) == summary
    with pytest.raises(UserError, match='imported.background: there "auto", asked "none"'):
        run_import(str(tmp_path / "run"), dataclasses.replace(config, background="none"))


def test_the_command_asks_for_the_scaling_and_says_how_to_find_it(tmp_path):
    paths, _ = published(tmp_path, 5)
    # A process of its own: flags of two commands in one would clash.
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "nas_tf.import_checkpoint",
            f"--workdir={tmp_path / 'run'}",
            f"--config={paths[0]}",
            f"--checkpoint={paths[1]}",
        ],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "error: --input_scaling is required" in ended.stderr
    for part in ("half (pixel / 127.5 - 1", "imagenet", "Normalize", "compare the top-1"):
        assert part in ended.stderr
    assert not (tmp_path / "run").exists()
