"""`~` and environment variables are expanded in every flag that holds a path."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from flags import paths
from tests.commands.test_help import COMMANDS

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BENCHMARKS = (
    "benchmarks.checkpoint_cost",
    "benchmarks.distributed_kills",
    "benchmarks.distributed_step",
    "benchmarks.evaluate_throughput",
    "benchmarks.input_pipeline",
    "benchmarks.latency_objectives",
    "benchmarks.most_macs",
    "benchmarks.oblong_photos",
    "benchmarks.quantization_loss",
    "benchmarks.random_kills",
    "benchmarks.search_step",
    "benchmarks.finetuning_steps",
    "benchmarks.search_beats_baselines",
    "benchmarks.searched_and_random",
    "benchmarks.two_tables",
)
# Words that are not paths. A new string flag must be put here, or be defined by DEFINE_path.
NO_PATHS = {
    "train_split",
    "eval_split",
    "split",
    "adb_serial",
    "adb_cpu_mask",
    "only",
    "also",
    "num_devices",
    "author",
    "model_version",
    "model_license",
}
PATHS = {
    "adb_path",
    "architecture",
    "benchmark_binary",
    "cache_dir",
    "checkpoint",
    "compare_with",
    "run",
    "config",
    "data_dir",
    "dataset",
    "first",
    "folder",
    "initial_model",
    "labels",
    "latency_cache_dir",
    "latency_table",
    "model",
    "output",
    "output_html",
    "output_json",
    "plot",
    "second",
    "tflite",
    "workdir",
}

# Sets every given flag of a command and prints the values, as well as all string flags.
_PROBE = """
import importlib, json, sys
from absl import flags
importlib.import_module(sys.argv[1])
ours = [f for module, row in flags.FLAGS.flags_by_module_dict().items() for f in row
        if module.split(".")[0] in ("nas_tf", "quant", "export", "flags", "benchmarks")]
kinds = {f.name: f.flag_type() for f in ours}
of_paths = [name for name, kind in kinds.items() if kind in ("path", "multi path")]
given = [f"--{name}={sys.argv[2]}" for name in of_paths]
if sys.argv[3]:
    with open(sys.argv[3], "w") as stream:
        stream.write("\\n".join(given))
    given = [f"--flagfile={sys.argv[3]}"]
for f in ours:  # other flags may stay as they are, even if they are required
    flags.FLAGS[f.name].validators.clear()
flags.FLAGS(["command", *given])
values = {name: flags.FLAGS[name].value for name in of_paths}
print(json.dumps([kinds, {name: v[0] if isinstance(v, list) else v for name, v in values.items()}]))
"""


# Each is a process that loads a command; what a flag file holds is parsed in one place for all of them.
@pytest.mark.parametrize(
    "in_flagfile",
    [pytest.param(False, id="arguments"), pytest.param(True, id="flagfile", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
    "module", (*COMMANDS, *(pytest.param(name, marks=pytest.mark.slow) for name in BENCHMARKS))
)
def test_every_path_of_every_command(module, in_flagfile, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _PROBE,
            module,
            "~/$STUDY/${PART}.x",
            str(tmp_path / "preset.flags") if in_flagfile else "",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HOME": "/home/her", "STUDY": "birds", "PART": "two"},
    )
    assert done.returncode == 0, done.stderr
    kinds, values = json.loads(done.stdout)
    words = {name for name, kind in kinds.items() if kind in ("string", "multi string")}
    assert words <= NO_PATHS, "string flags that are neither paths nor words"
    assert set(values) <= PATHS, "path flags that are new to this test"
    assert set(values.values()) <= {"/home/her/birds/two.x"}


@pytest.fixture(name="parse")
def _parse(monkeypatch):
    monkeypatch.setenv("HOME", "/home/her")
    monkeypatch.delenv("NOWHERE", raising=False)
    return paths.PathParser().parse


@pytest.mark.parametrize(
    "given, wanted",
    [
        ("~", "/home/her"),
        ("~/a b", "/home/her/a b"),
        ("a/~/b", "a/~/b"),
        ("", ""),
        (None, None),
        ("$HOME/x", "/home/her/x"),
        ("digits", "digits"),
        ("cost$", "cost$"),
        ("s8x2 1_3c8 h16", "s8x2 1_3c8 h16"),
    ],
)
def test_what_is_expanded(parse, given, wanted):
    assert parse(given) == wanted


@pytest.mark.parametrize(
    "given, message",
    [
        ("$NOWHERE/a", "no environment variable 'NOWHERE'"),
        ("~/${NOWHERE}", "no environment variable 'NOWHERE'"),
        ("~no_such_user/a", "no user '~no_such_user'"),
    ],
)
def test_what_cannot_be_expanded_is_refused(parse, given, message):
    with pytest.raises(ValueError, match=message):
        parse(given)


def test_a_file_may_have_such_a_name(parse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("$NOWHERE", "~no_such_user"):
        (tmp_path / name).touch()
        assert parse(name) == name


def test_a_command_refuses_in_one_sentence():
    done = subprocess.run(
        [sys.executable, "-m", "nas_tf.describe", "--architecture=$NO_SUCH_ONE/net.json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "flag --architecture=$NO_SUCH_ONE/net.json" in done.stderr
    assert "there is no environment variable 'NO_SUCH_ONE'" in done.stderr


def test_files_are_written_where_the_path_leads(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "nas_tf.describe",
            "--architecture=mobilenet_v2",
            "--output_json=$HERE/facts.json",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HERE": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "facts.json").read_text())["params"] == 3_504_872


_SETTINGS = """
import dataclasses, json
from absl import flags
import nas_tf.train
from flags import train
flags.FLAGS(["train", "--workdir=~/run", "--dataset=~/photos", "--data_dir=$STUDY/tfds",
             "--initial_model=~/model"])
config = train.train_config()
print(json.dumps([config.data.dataset, config.data.data_dir, config.initial_model]))
"""


def test_a_stages_settings_hold_expanded_paths():
    done = subprocess.run(
        [sys.executable, "-c", _SETTINGS],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"HOME": "/home/her", "STUDY": "/s"},
    )
    assert json.loads(done.stdout) == ["/home/her/photos", "/s/tfds", "/home/her/model"]


def test_help_shows_path_flags():
    """They belong to the module that defines them, not to the one that makes them."""
    done = subprocess.run(
        [sys.executable, "-m", "quant.audit", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert all(f"--{name}:" in done.stdout for name in ("model", "output_json", "output_html"))
