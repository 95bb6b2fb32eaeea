"""Every preset is understood by the pipeline: all its flags exist and their values are allowed."""

import json
import pathlib
import subprocess
import sys

import pytest

from export.table1_run import ROWS

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


# All flags that the files set, as the pipeline understands them.
_VALUES = """
import json, sys
from absl import flags
import nas_tf.pipeline
flags.FLAGS(["pipeline", "--flagfile=" + sys.argv[1]])
values = {n: flags.FLAGS[n] for n in flags.FLAGS}
print(json.dumps({n: f.value for n, f in values.items() if f.present and n != "flagfile"}))
"""


def read(preset, program=_READ):
    done = subprocess.run(
        [sys.executable, "-c", program, str(preset)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
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


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_papers_networks_have_a_preset(row):
    """Table 1's size, width and, for a search, latency; all else is the ImageNet preset's."""
    searched = row.network.name.startswith("proxyless")
    name = f"{'proxylessnas' if searched else row.network.name}_{row.resolution}_{row.width_multiplier}"
    path = REPOSITORY / "flags" / f"{name}.flags"
    values, others = read(path, _VALUES), read(REPOSITORY / "flags" / "imagenet.flags", _VALUES)
    own = {
        "workdir": f"runs/{name}",
        "resolution": row.resolution,
        "width_multiplier": row.width_multiplier,
    }
    if searched:
        own |= {"target_latency_ms": row.published_ms}
    else:
        own |= {"architecture": "mobilenet_v2"}
        others = {key: value for key, value in others.items() if not key.startswith("search_")}
        others = {key: value for key, value in others.items() if key not in ("space", "gate_mode")}
    assert values == others | own
    head = path.read_text().split("--workdir")[0]
    assert (
        f"Published: {row.float_top1} % float and {row.int8_top1} % int8 top-1, {row.published_ms} ms" in head
    )
    assert f"nas-tf pipeline --preset={name} --data_dir=..." in head
