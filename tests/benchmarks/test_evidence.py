"""What the comparison of searched networks with others computes."""

import collections
import dataclasses

import numpy as np
import pytest

from benchmarks import evidence_networks, evidence_table
from benchmarks.evidence_networks import Network
from benchmarks.evidence_statistics import difference, mean_interval, rank_correlation, spread
from nas_tf.base import files
from nas_tf.base.errors import UserError
from nas_tf.base.run_folder import EVALUATE, TRAIN, RunFolder
from nas_tf.latency.table import load_table
from nas_tf.space.search_space import TINY
from tests.search.helpers import write_table


def test_a_mean_has_students_interval():
    # t of 0.975 with two degrees of freedom is 4.3027; s = 1, √3 = 1.7321
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0 and interval.half_width == pytest.approx(4.3027 / 1.7321, rel=1e-4)
    assert np.isnan(mean_interval([1.0]).half_width)


def test_spreads_are_told_apart():
    """Drawn with known ones: 2 between networks and 0.5 between seeds; and with none between."""
    rng = np.random.default_rng(0)
    networks = rng.normal(70, 2.0, 400)
    seeds = [3 if i % 3 else 1 for i in range(400)]
    found = spread([m + rng.normal(0, 0.5, n) for m, n in zip(networks, seeds, strict=True)])
    assert found.between == pytest.approx(2.0, rel=0.1) and found.within == pytest.approx(0.5, rel=0.1)
    assert found.p < 1e-6
    alike = spread([70 + rng.normal(0, 0.5, n) for n in seeds])
    assert alike.between < 0.15 and alike.within == pytest.approx(0.5, rel=0.1) and alike.p > 0.01


def test_the_analysis_of_variance_is_scipys():
    from scipy import stats

    groups = [[1.0, 2.0, 1.5], [2.0, 2.5, 3.5], [0.5, 1.0, 1.2]]
    reference = stats.f_oneway(*groups)
    found = spread(groups)
    assert found.f == pytest.approx(reference.statistic) and found.p == pytest.approx(reference.pvalue)


def test_a_difference_has_welchs_error():
    found = difference([1.0, 3.0], [0.0, 0.0, 3.0])
    # s² of 2 and 3: √(2 / 2 + 3 / 3)
    assert found.mean == pytest.approx(1.0) and found.error == pytest.approx(np.sqrt(2.0))


def test_ranks_and_not_values_count():
    assert rank_correlation([1, 2, 3, 4], [1, 10, 100, 1000])[0] == pytest.approx(1.0)


def test_random_networks_are_within_and_all_equally_probable(tmp_path):
    table = load_table(write_table(tmp_path / "table.json", "tiny"))
    everything = evidence_networks.random_within(TINY, table, 0.0, 1e9, 50, 0)
    times = sorted(table.predict_ms(network, 32, 10) for network in everything)
    low, high = times[10], times[30]
    found = evidence_networks.random_within(TINY, table, low, high, 30, 1)
    assert len(set(found)) == 30
    assert all(low <= table.predict_ms(network, 32, 10) <= high for network in found)
    # Of 600 networks of the whole space, block 0 has each of its six candidates about as often:
    # 100 ± five standard deviations of a binomial.
    many = evidence_networks.random_within(TINY, table, 0.0, 1e9, 600, 2)
    names = [network.blocks[1].operation.name for network in many]
    counts = [names.count(name) for name in set(names)]
    assert len(counts) == 6 and all(abs(count - 100) < 5 * np.sqrt(600 * 5 / 36) for count in counts)


@pytest.mark.parametrize("percentile", [5, 95])
def test_networks_at_either_end_of_a_space_are_equally_probable(tmp_path, percentile):
    """As often as by drawing all networks alike and keeping those of the band."""
    table = load_table(write_table(tmp_path / "table.json", "tiny"))
    alike = evidence_networks.random_within(TINY, table, 0.0, 1e9, 4000, 1)
    times = np.array([table.predict_ms(network, 32, 10) for network in alike])
    low, high = np.percentile(times, [percentile - 5, percentile + 5])
    expected = [n for n, ms in zip(alike, times, strict=True) if low <= ms <= high]
    found = evidence_networks.random_within(TINY, table, low, high, 600, 2)
    for block in range(1, len(found[0].blocks)):
        counts, controls = (
            collections.Counter(n.blocks[block].operation.name for n in networks)
            for networks in (found, expected)
        )
        for name in counts | controls:
            share, control = counts[name] / 600, controls[name] / len(expected)
            assert abs(share - control) < 5 * np.sqrt(2 * max(control, 0.01) / 600)


def test_a_budget_without_networks_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence_networks, "_MOST_DRAWS", 200_000)
    table = load_table(write_table(tmp_path / "table.json", "tiny"))
    with pytest.raises(UserError, match="only 0 take 0.001 to 0.002 ms"):
        evidence_networks.random_within(TINY, table, 0.001, 0.002, 3, 0)


def test_versions_of_one_network_differ_and_the_widest_that_fits_is_taken():
    versions = evidence_networks.scaled_versions("mobilenet_v2")
    assert len(set(versions.values())) == len(versions) and versions[1.0].params(1000) == 3_504_872
    assert evidence_networks.widest_within({0.25: 0.1, 0.5: 0.2, 0.75: 0.31}, 0.3) == 0.5
    with pytest.raises(UserError, match="0.1 ms, more than 0.05"):
        evidence_networks.widest_within({0.25: 0.1}, 0.05)


def _write(folder, network: Network, seed: int, top1: float, int8: float | None = None):
    run = RunFolder(folder / network.name / str(seed))
    files.make_folder(run.stage(TRAIN).path)
    run.stage(TRAIN).write_summary({"top1": top1, "params": 1000, "macs": 2e6, "seconds": 100.0})
    if int8 is not None:
        files.make_folder(run.stage(EVALUATE).path)
        run.stage(EVALUATE).write_summary({"top1": int8})
    return str(run.path)


def test_the_findings_are_those_of_the_summaries(tmp_path):
    networks = [Network(f"random_{i}", "random", "a", 32, (0, 1)) for i in range(3)]
    networks.append(Network("searched_0", "searched", "b", 32, (0, 1)))
    tops = [(0.60, 0.62), (0.64, 0.66), (0.68, 0.70), (0.74, 0.76)]
    rows = [
        evidence_table.row(
            n, [_write(tmp_path, n, s, t[s], t[0] - 0.01 if s == 0 else None) for s in (0, 1)], 0.3
        )
        for n, t in zip(networks, tops, strict=True)
    ]
    cost = evidence_table.SearchCost([150.0], search_epochs=4.5, train_epochs=3)
    text = evidence_table.findings(rows, {"shared_0": [0.1, 0.2, 0.3]}, cost, "searched", "random")
    # 75 less the mean of 61, 65 and 69; less the best.
    assert "random: +10.00" in text and "the best random: +6.00" in text
    # A search of 4.5 epochs in 150 s, a training of 3 in 100 s.
    assert (
        "Spearman +1.00" in text and "1.50 times a training of 3: for the same number of epochs 1.00" in text
    )
    assert "int8 less float: -1.00 to -1.00 points" in text
    # Between seeds √(3 · 2 · 1² / 3) = √2; MSB = 2 · 16 = 32, so between networks √((32 − 2) / 2).
    assert f"{np.sqrt(15):.2f} points between networks, {np.sqrt(2):.2f} between seeds" in text
    assert "| random_1 | random | 0.3000 | 1,000 | 2.00 M | 2 | 65.00 ±" in evidence_table.markdown(rows)
    evidence_table.draw(str(tmp_path / "a.svg"), rows, "random")
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    untimed = [dataclasses.replace(r, measured_ms=None) for r in rows]
    with pytest.raises(UserError, match="No network was timed yet"):
        evidence_table.draw(str(tmp_path / "b.svg"), untimed, "random")
    assert not (tmp_path / "b.svg").exists()
