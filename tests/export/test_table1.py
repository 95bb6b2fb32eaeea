"""The paper's Table 1: its rows as architectures, and their arithmetic."""

import json

import pytest

from export import table1_run
from export.table1_run import ROWS, Row, Table1Config, as_markdown, make_rows, run_table1
from nas_tf.base.errors import UserError
from nas_tf.latency.model_cache import EMPTY, ModelCache, layer_builders
from nas_tf.latency.timing import TimingConfig
from nas_tf.space.architecture import from_string
from tests.latency.fake_device import FakeDevice

SMALL = tuple(
    Row(from_string(f"s8x2 1_3c8 3_3c{width}x2 3_5c{width} h16"), 16, 1.0, 60.0, 59.0, published)
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
    assert json.loads((tmp_path / "t.json").read_text()) == summary
    text = (tmp_path / "t.md").read_text()
    assert text == as_markdown(summary) and "| 30.00 (1.50) | 18.00 (2.00) | 12.50 (1.00) |" in text
    # One interleaved run for layers and networks alike.
    assert len(device.rounds) == 4 and all(len(r) == len(device.rounds[0]) for r in device.rounds)
    with pytest.raises(UserError, match="ends in .json"):
        run_table1(Table1Config(str(tmp_path / "t.txt")), SMALL)
