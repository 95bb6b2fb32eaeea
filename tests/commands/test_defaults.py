"""A setting has one default: what a flag means when it is not given is what its configuration says."""

import ast
import json
import pathlib
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Runs a command as far as the call that gets its configuration, and compares that.
_COMPARE = """
import dataclasses, importlib, json, sys, types
from absl import flags

command, place, *arguments = sys.argv[1:]
compared, differing = set(), []

def compare(config):
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{type(config).__name__}.{field.name}"
        if dataclasses.is_dataclass(value):
            compare(value)
        elif field.default is not dataclasses.MISSING:
            compared.add(name)
            if value != field.default:
                differing.append(f"{name}: flag {value!r}, configuration {field.default!r}")
        compared.add(type(config).__name__)

class Reached(BaseException):
    pass

def reached(*given):
    for config in given:
        if dataclasses.is_dataclass(config):
            compare(config)
    raise Reached

module, function = place.split(":")
if module not in ("quant.finetune_run", "quant.parity_run"):
    setattr(importlib.import_module(module), function, reached)
else:  # imported by the command when it runs, with TensorFlow
    sys.modules[module] = types.ModuleType(module)
    setattr(sys.modules[module], function, reached)
command = importlib.import_module(command)
flags.FLAGS([command.__name__, *arguments])
try:
    # Which images are seen is no flag.
    command.main(*([["a.jpg"]] if command.__name__ == "export.predict" else []))
except Reached:
    print(json.dumps([sorted(compared), differing]))
"""
ADB = ("--backend=adb", f"--benchmark_binary={sys.executable}")
# Command, where its configuration arrives, and flags that it cannot do without.
COMMANDS = {
    "pipeline": ("nas_tf.pipeline", "export.pipeline_run:run_pipeline", "--workdir=w"),
    "import": (
        "nas_tf.import_checkpoint",
        "nas_tf.imported.import_run:run_import",
        *("--workdir=w", "--config=c", "--checkpoint=c", "--input_scaling=half"),
    ),
    "table": (
        "nas_tf.build_latency_table",
        "nas_tf.latency.build_run:run_build_table",
        "--workdir=w",
    ),
    "finetune": ("quant.finetune", "quant.finetune_run:run_finetune", "--workdir=w"),
    "parity": ("quant.parity", "quant.parity_run:run_parity", "--workdir=w"),
    "convert": ("export.convert", "export.convert_run:run_convert", "--workdir=w"),
    "evaluate": ("export.evaluate", "export.evaluate_run:run_evaluate", "--workdir=w"),
    "benchmark": ("export.benchmark", "export.benchmark_run:run_benchmark", "--workdir=w"),
    "table1": ("export.table1", "export.table1_run:run_table1", "--output=t.json"),
    "devices": ("nas_tf.train.__main__", "nas_tf.distribute.start:workers", "--workdir=w"),
    "predict": ("export.predict", "export.predict_run:predict", "--model=m"),
    "phone": ("export.benchmark", "export.benchmark_run:run_benchmark", "--workdir=w", *ADB),
}
# A phone's rounds are turns of several inferences: other numbers for the same flags.
ON_A_PHONE = ("TimingConfig.",)
# Placeholders: the pipeline asks the dataset and itself. A prediction cannot do without a model.
OF_THE_PIPELINE = ("BuildConfig.num_classes: flag 1,",)
ALLOWED = {"pipeline": OF_THE_PIPELINE, "phone": ON_A_PHONE, "predict": ("PredictConfig.model: flag 'm',",)}


@pytest.fixture(scope="module", name="compared")
def _compared():
    """Command → (names of what was compared, what differs)."""
    started = {
        name: subprocess.Popen(
            [sys.executable, "-c", _COMPARE, *call],
            cwd=REPOSITORY,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for name, call in COMMANDS.items()
    }
    results = {}
    for name, process in started.items():
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0 and stdout, (name, stderr)
        results[name] = json.loads(stdout.splitlines()[-1])
    return results


@pytest.mark.parametrize("command", COMMANDS)
def test_a_flag_that_is_not_given_means_the_configurations_default(compared, command):
    names, differing = compared[command]
    assert len(names) > 3
    allowed = ALLOWED.get(command, ())
    assert [text for text in differing if not text.startswith(allowed)] == []


def test_every_configuration_was_compared(compared):
    """Each dataclass of settings in the rooms, but those that no command's flags fill."""
    defined = set()
    for room in ("nas_tf", "quant", "export"):
        for path in (REPOSITORY / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and node.name.endswith("Config") and node.decorator_list:
                    defined.add(node.name)
    assert {"SearchConfig", "TrainConfig", "AdbConfig", "ParityConfig"} <= defined
    assert defined <= {name for names, _ in compared.values() for name in names}


def test_parts_of_configurations_were_compared(compared):
    names = set(compared["pipeline"][0])
    assert {
        "SearchSchedule.alpha_every",
        "WeightStep.ema_decay",
        "Augmentation.flip",
        "Budget.macs",
        "TimingConfig.num_rounds",
    } <= names
