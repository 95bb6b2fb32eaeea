"""`nas_tf.describe` as a user runs it."""

import json
import subprocess
import sys

import pytest

from nas_tf.latency.entries import Entry, Identity
from nas_tf.latency.table import LatencyTable, save_table
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck
from nas_tf.space.search_space import TINY


def run(*arguments, cwd=None):
    """Runs the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "nas_tf.describe", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_facts_of_a_published_network(tmp_path):
    output = tmp_path / "facts.json"
    result = run("--architecture=proxyless_mobile", f"--output_json={output}", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    facts = json.loads(output.read_text())
    assert facts["params"] == 4_080_512
    assert round(facts["macs"] / 1e6, 1) == 320.4
    assert facts["predicted_latency_ms"] is None
    assert len(facts["blocks"]) == 1 + 22 + 2
    assert sum(b["params"] for b in facts["blocks"]) == facts["params"]


def test_a_block_says_whether_it_has_a_shortcut(tmp_path):
    output = tmp_path / "facts.json"
    result = run("--architecture=s8x2 1_3c8 3_3c8_noskip h16", f"--output_json={output}", cwd=tmp_path)
    assert [b["shortcut"] for b in json.loads(output.read_text())["blocks"]] == [
        False,
        True,
        False,
        False,
        False,
    ]
    assert [line.count("+") for line in result.stdout.splitlines()[:6]] == [0, 0, 1, 0, 0, 0]


def test_published_table_lacks_three_keys_of_the_mobile_net(shared_data):
    table = f"--latency_table={shared_data / 'proxylessnas/mobile_trim.yaml'}"
    refused = run("--architecture=proxyless_mobile", table)
    assert refused.returncode == 1
    assert "lacks 3 entries" in refused.stderr and "56x56x32" in refused.stderr
    estimated = run("--architecture=proxyless_mobile", table, "--missing_latency=estimate")
    assert estimated.returncode == 0
    assert estimated.stdout.count("  estimated") == 4  # three layers and the line that counts them


def test_layers_out_of_proportion_are_marked(tmp_path):
    """A table of one ms an entry and a nanosecond a multiply-add, but 40 ms where there is a 7×7."""
    specs = TINY.latency_specs(32, 10)
    identity = Identity("a cpu", "host", "runtime 1", "xnnpack", 1, "int8", "tiny", 32, 1.0, 10)
    times = {k: 40.0 if "kernel:7" in k else 1.0 + 1e-6 * s.macs for k, s in specs.items()}
    table = LatencyTable(identity, {key: Entry(value) for key, value in times.items()})
    save_table(tmp_path / "table.json", table)
    facts = tmp_path / "facts.json"
    network = TINY.architecture(tuple(InvertedBottleneck(3, kernel) for kernel in (3, 7, 5, 7, 3)))
    shared = (f"--latency_table={tmp_path}/table.json", "--resolution=32", "--num_classes=10")
    result = run(f"--architecture={network.to_string()}", f"--output_json={facts}", *shared)
    assert result.returncode == 0, result.stderr
    rows = [line for line in result.stdout.splitlines() if line.startswith("block")]
    assert [" × its work" in row for row in rows] == ["_7 " in row for row in rows]
    assert sum(" × its work" in row for row in rows) == 2
    assert "2 layers, 80 ms of the" in result.stdout and "a cpu, xnnpack kernels" in result.stdout
    assert "10 of 31 candidates, all with a 7×7 depthwise, take" in result.stdout
    found = json.loads(facts.read_text())
    assert found["kernels"] == "xnnpack" and len(found["slow_entries"]) == 1
    marked = [b["operation"] for b in found["blocks"] if b["times_its_work"]]
    assert marked == ["3_7", "3_7"]
    plain = TINY.architecture(tuple(InvertedBottleneck(3, 3) for _ in range(5)))
    result = run(f"--architecture={plain.to_string()}", *shared)
    assert result.returncode == 0 and "its work" not in result.stdout and "slow" not in result.stdout


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["--architecture=nope"], "'nope' is neither a file nor a published name"),
        (["--architecture=mobilenet_v2", "--resolution=0"], "flag --resolution=0"),
        (["--architecture=mobilenet_v2", "--num_classes=-1"], "flag --num_classes=-1"),
        (["--architecture=mobilenet_v2", "--width_multiplier=0"], "flag --width_multiplier=0"),
        (["--architecture=mobilenet_v2", "extra"], "Unexpected argument 'extra'"),
        (["--architecture=mobilenet_v2", "--latency_table=none.json"], "no latency table 'none.json'"),
        ([], "--architecture is required."),
    ],
)
def test_mistakes_get_one_sentence(arguments, message):
    result = run(*arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
