"""Tables, architectures, configurations and the files of a run, as JSON, YAML and short strings."""

import functools
import json
import pathlib
import random

import pytest
from hypothesis import strategies as st

from nas_tf.base.clock import _held
from nas_tf.base.metric_log import METRICS_FILE, read_metrics
from nas_tf.base.run_folder import StageFolder, open_stage
from nas_tf.imported.proxyless_config import read_config
from nas_tf.latency.entries import Correction, Entry, Identity
from nas_tf.latency.partial import PartialTable
from nas_tf.latency.table import LatencyTable, load_table, save_table
from nas_tf.network.model_folder import read_description
from nas_tf.space.published import MOBILENET_V4_CONV_SMALL, PROXYLESS_MOBILE, read_architecture
from nas_tf.space.search_space import TINY
from tests.fuzz.judge import judge
from tests.fuzz.mutate import Make, anything, damaged, either, restructured
from tests.fuzz.run import fuzz
from tests.imported.test_proxyless_config import small_config

IDENTITY = Identity("a phone", "host", "runtime 1", "xnnpack", 1, "int8", "tiny", 32, 1.0, 10)
SMALL = "s8x2 1_3c8 3_5c16x2 F3_3c16_noskip h32 f64 relu symmetric"
NETWORKS = [read_architecture(SMALL), MOBILENET_V4_CONV_SMALL, PROXYLESS_MOBILE]


@functools.cache
def table_content() -> dict:
    entries = {key: Entry(1.5, 0.1, 9) for key in TINY.latency_specs(32, 10)}
    correction = Correction(1.1, 0.2, 1, ("s8x2 1_3c8 h16",), (3.5,))
    table = LatencyTable(IDENTITY, entries, 0.01, correction, {"mape_percent": 1.0})
    path = pathlib.Path("/tmp") / f"nas_tf_fuzz_{id(table)}.json"
    try:
        save_table(path, table)
        return json.loads(path.read_text())
    finally:
        path.unlink(missing_ok=True)


@pytest.fixture(scope="module", name="folder")
def folder_fixture(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def as_json(contents: list) -> tuple[Make, st.SearchStrategy[bytes]]:
    """Files of JSON: other structures, other bytes, and anything."""
    structures = restructured(contents)
    texts = damaged([json.dumps(c, indent=1).encode() for c in contents])
    made = either(lambda rng: _json(structures(rng)), texts)
    return made, anything().map(lambda c: json.dumps(c).encode())


def _json(content: object) -> bytes:
    """As JSON; of what is nested deeper than Python writes, brackets as deep."""
    try:
        return json.dumps(content).encode()
    except RecursionError:
        return b"[" * 1000 + b"]" * 1000


def _written(path: pathlib.Path, content: bytes) -> pathlib.Path:
    path.write_bytes(content)
    return path


@fuzz(*as_json([table_content()]))
def test_table_json(folder, content):
    path = _written(folder / "t.json", content)
    table = judge("latency table, JSON", lambda: load_table(path))
    if table is not None:
        # What was read can be worked with.
        judge("latency table, used", lambda: table.check_fits("tiny", 32, 1.0, 10))


_YAML = "".join(
    f"{key}:\n  count: 3\n  mean: 1.5\n  var: 0.25\n"
    for key in (
        "Conv-input:32x32x3-output:16x16x8",
        "Conv_1-input:4x4x16-output:4x4x32",
        "Logits-input:4x4x32-output:10",
        "expanded_conv-input:16x16x8-output:16x16x8-expand:3-kernel:5-stride:1-idskip:1",
    )
).encode()
_ODD = (
    "0x" + "f" * 6000,
    "1:" * 500 + "1",
    "1e999",
    ".nan",
    "!!binary x",
    "2001-01-01",
    "{a: [1]}",
    "~",
)


def _odd_yaml(rng: random.Random) -> bytes:
    return _YAML.replace(rng.choice((b"1.5", b"0.25", b"3\n")), rng.choice(_ODD).encode() + b"\n", 1)


@fuzz(either(damaged([_YAML]), _odd_yaml))
def test_table_yaml(folder, content):
    path = _written(folder / "t.yaml", content)
    judge("latency table, YAML", lambda: load_table(path))


@fuzz(*as_json([network.to_json() for network in NETWORKS]))
def test_architecture_json(folder, content):
    path = _written(folder / "a.json", content)
    network = judge("architecture, JSON", lambda: read_architecture(str(path)))
    if network is not None:
        assert read_architecture(network.to_string()).blocks == network.blocks
        judge("architecture, used", lambda: (network.params(10), network.macs(32, 10)))


_STRINGS = damaged([network.to_string().encode() for network in NETWORKS])


@fuzz(
    either(
        lambda rng: _STRINGS(rng).decode("utf-8", "surrogateescape"),
        lambda rng: _STRINGS(rng).decode("utf-8", "surrogateescape"),
        lambda rng: "s8 " + "1_3c8 " * rng.choice((1, 900, 1025, 40_000)) + "h8",
    ),
    st.text(alphabet="sc0123456789x_hFUCZ f", max_size=60),
)
def test_architecture_string(content):
    network = judge("architecture, string", lambda: read_architecture(content))
    if network is not None and " " in content:
        assert read_architecture(network.to_string()) == network


@fuzz(*as_json([small_config()]))
def test_published_config(folder, content):
    path = _written(folder / "c.json", content)
    judge("published configuration", lambda: read_config(str(path)))


_MODEL = {
    "format": "nas_tf.model/1",
    "kind": "qat",
    "architecture": NETWORKS[0].to_json(),
    "resolution": 32,
    "num_classes": 2,
    "labels": ["cat", "dog"],
    "resize_size": 36,
    "has_background": False,
    "quantization": {"a": 1},
    "named": True,
}


@fuzz(*as_json([_MODEL]))
def test_model_description(folder, content):
    _written(folder / "model.json", content)
    judge("model description", lambda: read_description(folder))


SETTINGS = {
    "data": {"dataset": "digits", "resize_size": 0},
    "epochs": 3,
    "blocks": [{"width": 8}, {"width": 9}],
}


@fuzz(*as_json([SETTINGS]))
def test_settings(folder, content):
    (folder / "run" / "train").mkdir(parents=True, exist_ok=True)
    _written(folder / "run" / "train" / "settings.json", content)
    judge(
        "stage settings", lambda: open_stage(folder / "run", "train", SETTINGS, {"data.class_names": "match"})
    )


@fuzz(*as_json([{"top1": 0.5, "output": "a.tflite", "rows": [[1, 2.5]]}]))
def test_summary(folder, content):
    _written(folder / "summary.json", content)
    judge("stage summary", lambda: StageFolder(folder).summary())


_METRICS = b"".join(json.dumps({"epoch": i, "loss": 1.5, "rows": [1, 2]}).encode() + b"\n" for i in range(4))


_LINES = restructured([{"epoch": 3}])


@fuzz(either(damaged([_METRICS]), lambda rng: _METRICS + json.dumps(_LINES(rng)).encode()))
def test_metrics(folder, content):
    _written(folder / METRICS_FILE, content)
    lines = judge("metrics", lambda: read_metrics(folder))
    assert lines is None or all(isinstance(line, dict) for line in lines)


_PARTIAL = {
    "format": "nas_tf.latency_samples/1",
    "identity": table_content()["identity"],
    "samples": {"a": [1.0, 2.5], "b": [0.5]},
}


@fuzz(*as_json([_PARTIAL]))
def test_unfinished_table(folder, content):
    path = _written(folder / "p.json", content)
    judge("unfinished latency table", lambda: PartialTable(path, IDENTITY).load())


@fuzz(*as_json([{"seconds": 3.5}]))
def test_working_time(folder, content):
    path = _written(folder / "seconds.json", content)
    judge("working time", lambda: _held(path))
