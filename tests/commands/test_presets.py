"""Every preset is understood by the pipeline: all its flags exist and their values are allowed."""

import json
import pathlib
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PRESETS = sorted((REPOSITORY / "flags").glob("*.flags"))
_READ = """
import json, sys
from absl import flags
import nas_tf.pipeline
from flags import evaluate, train
flags.FLAGS(["pipeline", "--flagfile=" + sys.argv[1]])
config = train.train_config()
print(json.dumps([config.data.dataset, config.resolution, config.epochs, config.learning_rate,
                  evaluate.evaluate_config().data.dataset]))
"""


def read(preset):
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(preset)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_there_are_presets():
    assert {"quickstart.flags", "cifar10.flags", "imagenet.flags"} <= {p.name for p in PRESETS}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.stem)
def test_a_preset_is_accepted(preset):
    trained_on, *_, evaluated_on = read(preset)
    assert trained_on == evaluated_on


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.stem)
def test_a_preset_says_how_it_is_run(preset):
    """The head comment is the recipe; no folder of one machine is left inside."""
    text = preset.read_text()
    assert text.startswith("#") and ("make quickstart" in text or f"flags/{preset.name}" in text)
    assert "--data_dir=" not in "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def test_imagenet_has_the_published_settings():
    assert read(REPOSITORY / "flags" / "imagenet.flags")[:4] == ["imagenet2012", 224, 300, 0.05]
