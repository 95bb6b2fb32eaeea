"""Reading, checking and adding up latency tables."""

import dataclasses
import json

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.latency.entries import Correction, Entry, Identity
from nas_tf.latency.table import LatencyTable, load_table, save_table
from nas_tf.space.layer_spec import BlockSpec
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck
from nas_tf.space.operations.zero import ZERO
from nas_tf.space.published import PROXYLESS_MOBILE
from nas_tf.space.search_space import FULL, TINY


@pytest.fixture(name="published")
def _published(shared_data):
    return shared_data / "proxylessnas" / "mobile_trim.yaml"


def tiny_table(**changes) -> LatencyTable:
    """A table of the tiny space in which entry i takes 1 + i/8 ms."""
    identity = Identity("cpu", "host", "runtime 1", "builtin", 1, "int8", "tiny", 32, 1.0, 10)
    entries = {key: Entry(1 + i / 8, 0.01, 50) for i, key in enumerate(TINY.latency_specs(32, 10))}
    return dataclasses.replace(LatencyTable(identity, entries, 0.25), **changes)


def test_published_table_over_the_space(published):
    """114.0, 29.6 and 191.0 ms: uniform, fastest and slowest, as the authors' table gives them."""
    table = load_table(published)
    fixed = sum(map(table.cost_ms, (*FULL.fixed_before(224), *FULL.fixed_after(224, 1000))))
    costs = [[table.cost_ms(spec) for spec in choice.specs] for choice in FULL.choices(224)]
    assert fixed + sum(map(np.mean, costs)) == pytest.approx(114.0, abs=0.05)
    assert fixed + sum(map(min, costs)) == pytest.approx(29.6, abs=0.05)
    assert fixed + sum(map(max, costs)) == pytest.approx(191.0, abs=0.05)


def test_published_network_lacks_three_entries(published):
    with pytest.raises(UserError) as caught:
        load_table(published).predict_ms(PROXYLESS_MOBILE, 224, 1000)
    message = str(caught.value)
    assert "lacks 3 entries" in message and message.count("'expanded_conv-") == 3
    for shapes in (
        "input:112x112x16-output:56x56x32",
        "input:56x56x32-output:56x56x32",
        "input:56x56x32-output:28x28x40",
    ):
        assert shapes in message


def test_published_network_estimated(published):
    """The authors measured 80.67 ms for the whole network."""
    table = load_table(published, missing="estimate")
    assert table.predict_ms(PROXYLESS_MOBILE, 224, 1000) == pytest.approx(80.67, rel=0.06)
    layers = [la for la in PROXYLESS_MOBILE.layers(224, 1000) if la.key is not None]
    estimated = [layer for layer in layers if table.entry(layer).estimated]
    assert [layer.key for layer in estimated] == table.missing_keys(layers)
    assert len(estimated) == 3
    present = sum(table.cost_ms(layer) for layer in layers if layer not in estimated)
    assert present == pytest.approx(63.7, abs=0.05)


def test_published_table_fits_its_own_space_only(published):
    table = load_table(published)
    table.check_fits("full", 224, 1.0, num_classes=1000)
    for arguments, expected in (
        (("full", 160, 1.0), "resolution 224 there, 160 asked"),
        (("tiny", 224, 1.0), "space full there, tiny asked"),
        (("full", 224, 0.5), "width_multiplier 1.0 there, 0.5 asked"),
        (("full", 224, 1.0, 10), "num_classes 1000 there, 10 asked"),
    ):
        with pytest.raises(UserError, match=expected):
            table.check_fits(*arguments)


def test_a_missing_entry_names_the_nearest():
    table = tiny_table(path="t.json")
    wanted = BlockSpec(16, 8, 16, 1, InvertedBottleneck(6, 9))
    with pytest.raises(UserError) as caught:
        table.cost_ms(wanted)
    message = str(caught.value)
    assert repr(wanted.key) in message and "'t.json'" in message
    nearest = message.split("the nearest are ")[1]
    assert "input:16x16x8-output:16x16x16" in nearest and nearest.count("expanded_conv-") == 3


def test_prediction_is_baseline_plus_scaled_sum():
    table = tiny_table(correction=Correction(1.5, 0.125, 4))
    operations = (InvertedBottleneck(3, 3), ZERO, InvertedBottleneck(6, 7), ZERO, InvertedBottleneck(3, 5))
    network = TINY.architecture(operations)
    keys = list(TINY.latency_specs(32, 10))
    total = sum(1 + keys.index(key) / 8 for key in network.latency_keys(32, 10))
    assert len(network.latency_keys(32, 10)) == 7
    assert table.predict_ms(network, 32, 10) == pytest.approx(0.25 + 0.125 + 1.5 * total)
    assert table.cost_ms(TINY.choices(32)[1].specs[-1]) == 0.0  # ZeroOp


def test_json_keeps_everything(tmp_path):
    table = tiny_table(correction=Correction(0.9, 0.0, 8), prediction_error={"mape_percent": 1.5})
    entries = dict(table.entries)
    first = next(iter(entries))
    entries[first] = Entry(2.0, 0.5, 70, unsteady=True)
    table = dataclasses.replace(table, entries=entries)
    save_table(tmp_path / "t.json", table)
    read = load_table(tmp_path / "t.json")
    assert dataclasses.replace(read, path="") == table
    assert json.loads((tmp_path / "t.json").read_text())["unit"] == "ms"


def test_a_table_that_lacks_entries_does_not_fit():
    entries = dict(tiny_table().entries)
    entries.popitem()
    table = tiny_table(entries=entries)
    with pytest.raises(UserError, match="1 entries are missing, such as 'Logits-"):
        table.check_fits("tiny", 32, 1.0)
    lenient = dataclasses.replace(table, missing="estimate")
    lenient.check_fits("tiny", 32, 1.0)
    lenient.check_fits("tiny", 32, 1.0, num_classes=99)  # the classifier can be estimated
    with pytest.raises(UserError, match="resolution 32 there, 64 asked"):
        lenient.check_fits("tiny", 64, 1.0)


def damaged(tmp_path, change) -> str:
    """The sentence with which a changed table is refused; `change` edits its parsed JSON."""
    path = tmp_path / "t.json"
    save_table(path, tiny_table())
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        load_table(path)
    return str(caught.value)


@pytest.mark.parametrize(
    "value,expected",
    [
        (float("nan"), "finite number"),
        (float("inf"), "finite number"),
        pytest.param(10**400, "finite number", id="huge"),
        ("1", "finite number"),
        (True, "finite number"),
        (None, "finite number"),
        (0, "above 0"),
        (-1.5, "above 0"),
        (1e9, "at most"),
    ],
)
def test_refuses_senseless_latencies(tmp_path, value, expected):
    def change(content):
        next(iter(content["entries"].values()))["median_ms"] = value

    message = damaged(tmp_path, change)
    assert expected in message and "t.json" in message and "Conv-input:32x32x3" in message


@pytest.mark.parametrize(
    "change,expected",
    [
        (lambda c: c.update(format="other/9"), "has format 'other/9'"),
        (lambda c: c.update(entries={}), "needs 1 to"),
        (lambda c: c.update(entries=[1]), "needs 1 to"),
        (lambda c: c["entries"].update({"Conv-nonsense": {}}), "is not the key of a layer"),
        (lambda c: c.update(baseline_ms="fast"), "baseline_ms = 'fast'"),
        (lambda c: c["identity"].update(num_threads="many"), "no valid 'num_threads'"),
        (lambda c: c["identity"].pop("device"), "no valid 'device'"),
        (lambda c: c["identity"].update(width_multiplier=True), "width_multiplier = True; a finite number"),
        (lambda c: c["identity"].update(width_multiplier=10**400), "width_multiplier = 1000"),
        (lambda c: c.update(identity=None), "no valid 'device'"),
        (lambda c: c["correction"].update(scale=50), "a scale is 0.1 to 10"),
        (lambda c: c.update(prediction_error=[1]), "not a list of figures"),
    ],
)
def test_refuses_damaged_tables(tmp_path, change, expected):
    assert expected in damaged(tmp_path, change)


@pytest.mark.parametrize(
    "name,text,expected",
    [
        ("t.json", "[" * 100_000, "nested too deeply"),
        ("t.json", '{"format": ', "not valid JSON"),
        ("t.yaml", "a: &x [1]\nb: *x\n", "nested or aliased"),
        ("t.yaml", "a: {b: {c: {d: 1}}}\n", "nested or aliased"),
        ("t.yaml", "- " * 50_000, "nested or aliased"),
        ("t.yaml", "!!python/object/apply:os.system ['touch /tmp/never']\n", "not valid YAML"),
        ("t.yaml", "a: [1\n", "not valid YAML"),
        ("t.yaml", "just words\n", "not a mapping"),
        ("t.yaml", "Conv-input:8x8x3-output:4x4x8:\n  count: 3\n  mean: .nan\n  var: 0.1\n", "finite"),
        pytest.param(
            "t.yaml",
            f"Conv-input:8x8x3-output:4x4x8:\n  count: 3\n  mean: 1\n  var: {10**400}\n",
            "finite",
            id="huge",
        ),
        ("t.yaml", "Conv-input:8x8x3-output:4x4x8:\n  mean: 1.0\n", "needs count, mean and var"),
        ("t.yaml", "Conv-input:8x8x3-output:4x4x8:\n  count: 3\n  mean: 1.0\n  var: -1\n", "spread"),
        ("t.yaml", "oops:\n  count: 3\n  mean: 1.0\n  var: 1\n", "not the key of a layer"),
    ],
)
def test_refuses_hostile_files(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        load_table(tmp_path / name)
    assert expected in str(caught.value) and len(str(caught.value)) < 600


def test_refuses_absent_and_huge_files(tmp_path):
    with pytest.raises(UserError, match="There is no latency table"):
        load_table(tmp_path / "absent.json")
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(64 << 20)
    with pytest.raises(UserError, match="larger than 32 MiB"):
        load_table(tmp_path / "huge.json")
    with pytest.raises(UserError, match="allowed: error, estimate"):
        load_table(tmp_path / "huge.json", missing="guess")


def test_names_of_thousands_of_characters_are_no_identity(tmp_path):
    """They would stand in every message about tables that differ."""
    save_table(tmp_path / "t.json", tiny_table())
    content = json.loads((tmp_path / "t.json").read_text())
    content["identity"]["space"] = "y" * 20_000
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="has no valid 'space' .'yyy") as refused:
        load_table(tmp_path / "t.json")
    assert len(str(refused.value)) < 300 + len(str(tmp_path))


def test_a_table_of_other_images_is_said_before_its_missing_entries():
    table = tiny_table(path="t.json")
    with pytest.raises(UserError) as refused:
        table.predict_ms(PROXYLESS_MOBILE, 160, 1000)
    said = str(refused.value)
    held, asked = "--resolution=32 and --num_classes=10", "--resolution=160 and --num_classes=1000"
    assert f"for it was measured with {held}, not with {asked}: " in said
    # Three of them are named, the others counted.
    assert said.count("input:") == 3 and " more. Measure a table for this network" in said


def test_of_other_classes_alone_it_is_said_how_the_table_is_taken():
    with pytest.raises(UserError, match="num_classes 10 there, 3 asked. --missing_latency=estimate takes it"):
        tiny_table().check_fits("tiny", 32, 1.0, 3)
    with pytest.raises(UserError) as refused:
        tiny_table().check_fits("tiny", 64, 1.0, 3)
    assert "estimate" not in str(refused.value)
