"""The paper's Table 1: its rows as architectures, and their arithmetic."""

import dataclasses
import json

import pytest

from export import table1_run
from export.table1_accuracy import accuracies
from export.table1_run import ROWS, Row, Table1Config, as_markdown, make_rows, run_table1
from nas_tf.base.errors import UserError
from nas_tf.base.run_folder import RunFolder
from nas_tf.latency.model_cache import EMPTY, ModelCache, layer_builders
from nas_tf.latency.timing import TimingConfig
from nas_tf.network import model_folder
from nas_tf.space.architecture import from_string
from tests.latency.fake_device import FakeDevice


def named(text: str, name: str):
    """An architecture with a name."""
    return dataclasses.replace(from_string(text), name=name)


SMALL = tuple(
    Row(named(f"s8x2 1_3c8 3_3c{width}x2 3_5c{width} h16", f"w{width}"), 16, 1.0, 60.0, 59.0, published)
    for width, published in ((8, 20.0), (16, 30.0))
)


def test_rows_are_the_papers():
    """Cai et al. 2019, Table 1, and the costs of MobileNetV2 1.0 and Proxyless mobile."""
    names = [row.name for row in ROWS]
    assert names == [
        "mobilenet_v2 224-0.5",
        "mobilenet_v2 192-0.75",
        "mobilenet_v2 160-1.0",
        "proxyless_mobile 224-0.5",
        "proxyless_mobile 160-1.0",
    ]
    assert [row.published_ms for row in ROWS] == [28, 36, 31, 31, 35]
    assert [row.int8_top1 for row in ROWS] == [63.7, 67.4, 67.4, 65.7, 69.2]
    macs = {row.name: row.architecture.macs(row.resolution, 1000) / 1e6 for row in ROWS}
    assert macs["proxyless_mobile 160-1.0"] == pytest.approx(164.1, abs=0.05)
    assert macs["proxyless_mobile 224-0.5"] == pytest.approx(103.6, abs=0.05)
    # MobileNetV2's own paper: 1.95, 2.61 and 3.47 M parameters, 97, 153 and 154 M multiply-adds.
    params = [row.architecture.params(1000) / 1e6 for row in ROWS[:3]]
    assert params == pytest.approx([1.95, 2.61, 3.47], rel=0.015)
    assert [macs[name] for name in names[:3]] == pytest.approx([97, 153, 154], rel=0.01)


def truth_ms(name):
    """Every layer 2 ms on top of a call's half; whole networks 9 and 18 ms."""
    if name.startswith("network"):
        return 9.0 if name == SMALL[0].model_name else 18.0
    return 0.5 if name == EMPTY else 2.5


def test_predictions_and_ratios_by_hand():
    names = {EMPTY} | {row.model_name for row in SMALL} | {layer.key for row in SMALL for layer in row.layers}
    rows = make_rows(SMALL, {name: [truth_ms(name)] * 3 for name in names})
    # Stem, three blocks, head, classifier: 0.5 + 6 · 2 ms.
    assert [row["predicted_ms"] for row in rows] == [12.5, 12.5]
    assert [row["measured_ms"] for row in rows] == [9.0, 18.0]
    assert [(row["published_ratio"], row["measured_ratio"], row["predicted_ratio"]) for row in rows] == [
        (1, 1, 1),
        (1.5, 2, 1),
    ]


def test_written_as_json_and_text(tmp_path, monkeypatch):
    cache = ModelCache(tmp_path / "cache", "int8")
    for row in SMALL:
        for name in [row.model_name, *layer_builders(row.layers)]:
            cache.path(name).write_bytes(b"")
    device = FakeDevice(truth_ms)
    monkeypatch.setattr(table1_run, "open_device", lambda config: device)
    config = Table1Config(str(tmp_path / "t.json"), str(cache.folder), timing=TimingConfig(4))
    summary = run_table1(config, SMALL)
    assert [row["accuracy"] for row in summary["rows"]] == [None, None]
    assert json.loads((tmp_path / "t.json").read_text()) == summary
    text = (tmp_path / "t.md").read_text()
    assert text == as_markdown(summary) and "| 30.00 (1.50) | 18.00 (2.00) | 12.50 (1.00) |" in text
    # One interleaved run for layers and networks alike.
    assert len(device.rounds) == 4 and all(len(r) == len(device.rounds[0]) for r in device.rounds)
    with pytest.raises(UserError, match="ends in .json"):
        run_table1(Table1Config(str(tmp_path / "t.txt")), SMALL)


def a_run(folder, row, resolution=None, evaluated=True) -> str:
    """A run folder as training and evaluation leave it, with 30 of 40 images right in float, 28 in int8."""
    described = model_folder.ModelDescription(
        kind="float",
        architecture=row.architecture,
        num_classes=10,
        resolution=resolution or row.resolution,
        resize_size=16,
        labels=tuple("0123456789"),
    )
    model = RunFolder(folder).float_model
    model.mkdir(parents=True)
    (model / model_folder.DESCRIPTION_FILE).write_text(json.dumps(described.to_json()))
    if evaluated:
        stage = RunFolder(folder).stage("evaluate")
        stage.path.mkdir()
        kinds = {k: {"top1": v, "num_examples": 40} for k, v in (("float", 0.75), ("int8", 0.7))}
        stage.write_summary({"dataset": "d", "split": "s"} | kinds)
    return str(folder)


NETWORKS = [(row.name, row.architecture, row.resolution) for row in SMALL]


def test_a_runs_accuracy_stands_in_the_row_of_its_network(tmp_path):
    found = accuracies([a_run(tmp_path / "run", SMALL[1])], NETWORKS)
    assert list(found) == [SMALL[1].name]
    accuracy = found[SMALL[1].name]
    assert (accuracy["float"]["top1"], accuracy["int8"]["top1"], accuracy["int8"]["images"]) == (
        0.75,
        0.7,
        40,
    )
    # Wilson's interval of 28 of 40: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n).
    p, n, z2 = 0.7, 40, 1.959964**2
    middle, half = p + z2 / (2 * n), (z2 * (p * (1 - p) / n + z2 / (4 * n * n))) ** 0.5
    ends = [(middle - half) / (1 + z2 / n), (middle + half) / (1 + z2 / n)]
    assert accuracy["int8"]["interval"] == pytest.approx(ends, abs=1e-6)
    names = {EMPTY} | {row.model_name for row in SMALL} | {layer.key for row in SMALL for layer in row.layers}
    rows = make_rows(SMALL, {name: [truth_ms(name)] * 3 for name in names})
    for row in rows:
        row["accuracy"] = found.get(row["name"])
    made = {"device": "d", "runtime": "r", "kernels": "k", "num_threads": 1, "dtype": "int8", "rows": rows}
    text = as_markdown(made)
    assert text.count("| 70.0 (75.0) |") == 1 and text.count("| — |") == 1
    assert f"{SMALL[1].name}: int8 70.00% (95 % interval " in text and "of 40 images, d s, run " in text


def test_runs_that_have_no_row_are_refused(tmp_path):
    good = a_run(tmp_path / "good", SMALL[0])
    with pytest.raises(UserError, match="'.*again' and '.*good' are both of"):
        accuracies([good, a_run(tmp_path / "again", SMALL[0])], NETWORKS)
    with pytest.raises(UserError, match="at 24 pixels, which is no row of Table 1; allowed: "):
        accuracies([a_run(tmp_path / "other", SMALL[0], resolution=24)], NETWORKS)
    with pytest.raises(UserError, match="was not evaluated yet; run export.evaluate"):
        accuracies([a_run(tmp_path / "early", SMALL[0], evaluated=False)], NETWORKS)
    with pytest.raises(UserError, match="holds no trained or imported network"):
        accuracies([str(tmp_path / "none")], NETWORKS)
