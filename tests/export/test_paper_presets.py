"""Presets of the paper's Table 1, one with a search and one without, through all stages for a few steps."""

import json
import subprocess
import sys

import pytest

from nas_tf.space.published import MOBILENET_V2
from tests.commands.test_presets import REPOSITORY

# A processor and 200 images in place of accelerators and 1.28 million.
_SHORT = (
    "--mixed_precision=false",
    "--jit_compile=false",
    "--epochs=1",
    "--batch_size=40",
    "--steps=1",
    "--finetune_batch_size=8",
    "--finetune_calibration_images=16",
    "--num_runs=5",
)
_SHORT_SEARCH = (
    "--target_latency_ms=0",
    "--target_latency_share=0.5",
    "--search_held_out=0.2",
    "--search_warmup_epochs=1",
    "--search_epochs=1",
    "--search_batch_size=40",
    "--latency_extra_seconds=0",
)


def run(module, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "preset, short", [("mobilenet_v2_160_1.0", ()), ("proxylessnas_160_1.0", _SHORT_SEARCH)]
)
def test_from_a_preset_to_an_evaluated_file(preset, short, shared_data, tmp_path):
    data_dir = shared_data / "tfds"
    workdir = f"--workdir={tmp_path / 'run'}"
    run("nas_tf", "pipeline", f"--preset={preset}", workdir, f"--data_dir={data_dir}", *_SHORT, *short)
    summary = json.loads((tmp_path / "run/pipeline/summary.json").read_text())
    evaluated = json.loads((tmp_path / "run/evaluate/summary.json").read_text())
    assert evaluated["num_outputs"] == 1001 and evaluated["background_class"]
    assert evaluated["num_examples"] == 400 and evaluated["resolution"] == 160
    assert evaluated["background_predictions"] == 0
    assert evaluated["top1"] == pytest.approx(round(400 * evaluated["top1"]) / 400)
    converted = json.loads((tmp_path / "run/convert/summary.json").read_text())
    assert converted["input"]["dtype"] == "uint8" and converted["input"]["shape"] == [1, 160, 160, 3]
    if short:
        found = json.loads((tmp_path / "run/search/summary.json").read_text())
        assert found["predicted_latency_ms"] <= found["target_latency_ms"]
        assert len(found["architecture"].split()) >= 21
    else:
        # Published: 3,504,872 with 1,000 classes.
        assert summary["train"]["params"] == 3_504_872 == MOBILENET_V2.params(1000)
        assert "search" not in summary
    # The file says the same to a process that knows nothing of the run.
    said = run(
        "export.evaluate",
        f"--model={tmp_path / 'run/convert/model_int8.tflite'}",
        "--dataset=imagenet2012",
        f"--data_dir={data_dir}",
        "--split=validation",
        f"--output_json={tmp_path / 'again.json'}",
    )
    assert said and json.loads((tmp_path / "again.json").read_text())["top1"] == evaluated["top1"]
