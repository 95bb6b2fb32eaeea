"""Prediction error, noise floor and correction, on devices whose truth is known."""

import dataclasses
from unittest.mock import ANY

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.latency import accuracy
from nas_tf.latency.entries import Correction
from nas_tf.latency.model_cache import EMPTY, ModelCache, network_name
from nas_tf.latency.prediction_plot import save_plot
from nas_tf.latency.random_networks import architectures_within, band_of, random_architectures
from nas_tf.latency.table import load_table, save_table
from nas_tf.latency.timing import TimingConfig
from nas_tf.latency.whole_networks import Measured
from nas_tf.space.search_space import TINY
from tests.latency.fake_device import FakeDevice
from tests.latency.test_table import tiny_table


def test_error_figures_by_hand():
    predicted = np.array([1.02, 1.96, 3.21, 4.6])  # +2 %, −2 %, +7 %, +15 %
    figures = accuracy.prediction_error(predicted, np.array([1.0, 2.0, 3.0, 4.0]))
    assert figures["mape_percent"] == pytest.approx(6.5)
    assert figures["bias_percent"] == pytest.approx(5.5)
    assert figures["worst_percent"] == pytest.approx(15.0)
    assert figures["within_5_percent"] == 50 and figures["within_10_percent"] == 75
    assert figures["spearman"] == 1.0 and figures["networks"] == 4
    reverse = accuracy.prediction_error(predicted[::-1], np.array([1.0, 2.0, 3.0, 4.0]))
    assert reverse["spearman"] == -1.0


def test_noise_floor_compares_a_network_with_itself():
    networks = [Measured(None, 1.0, (1.02, 1.0)), Measured(None, 1.0, (0.96, 1.0))]
    assert accuracy.noise_floor_percent(networks) == pytest.approx(3.0)


def test_random_networks_differ_and_cover_the_space():
    first = random_architectures(TINY, 60, seed=1)
    others = random_architectures(TINY, 60, seed=1, other_than=first)
    assert len(set(first) | set(others)) == 120
    assert first == random_architectures(TINY, 60, seed=1)
    for index, choice in enumerate(TINY.choices(32)):
        drawn = {network.blocks[index + 1].operation for network in first + others}
        assert drawn == set(choice.operations)
    with pytest.raises(UserError, match="architectures"):
        random_architectures(TINY, TINY.size() + 1, seed=0)


def prepared_cache(tmp_path, networks):
    """A cache in which every network has a file, so that nothing is converted."""
    cache = ModelCache(tmp_path / "cache", "int8")
    for network in networks:
        cache.path(network_name(network, 32, 10)).write_bytes(b"")
    return str(cache.folder)


def drawn(table, count, seed, other_than=()):
    """What `check_table` draws."""
    return architectures_within(TINY, table, band_of(TINY, table), count, seed, other_than)


def check(table, tmp_path, expected, num_networks, num_fit, seed):
    """`check_table` on a device where sums are 20 % low; only `expected` networks are there."""
    truth, plain = {}, dataclasses.replace(table, correction=Correction())
    for network in expected:
        total = plain.predict_ms(network, 32, 10) - plain.baseline_ms
        truth[network_name(network, 32, 10)] = plain.baseline_ms + 1.25 * total
    device = FakeDevice(truth.get, device="cpu", runtime="runtime 1")
    return accuracy.check_table(
        table,
        device,
        TimingConfig(num_rounds=4),
        prepared_cache(tmp_path, expected),
        num_networks,
        num_fit,
        seed,
    )


@pytest.mark.parametrize("noted", [True, False])
def test_no_network_is_judged_by_that_the_correction_was_fitted_on(tmp_path, noted):
    """With the seed of the build the same networks would be drawn again."""
    of_build = random_architectures(TINY, 8, accuracy.BUILD_SEED)
    fitted_on = of_build[::2]
    correction = Correction(1.25, 0.0, 4, tuple(n.to_string() for n in fitted_on) if noted else ())
    # A table that does not say so: all that its build can have drawn are left out.
    table = tiny_table(correction=correction)
    others = drawn(table, 6, accuracy.BUILD_SEED, other_than=fitted_on if noted else of_build)
    facts, _, judged = check(table, tmp_path, others, 6, 0, accuracy.BUILD_SEED)
    assert not {n.architecture for n in judged} & set(fitted_on)
    assert ("note" in facts["as_it_is"]) == (not noted)


def test_a_new_correction_replaces_the_error_of_the_one_before(tmp_path):
    table = dataclasses.replace(tiny_table(), prediction_error={"mape_percent": 77.0})
    judged = drawn(table, 6, 4)
    fitted_on = drawn(table, 5, 5, other_than=judged)
    facts, corrected, _ = check(table, tmp_path, judged + fitted_on, 6, 5, 4)
    assert corrected.prediction_error == facts["corrected"]
    assert corrected.prediction_error["mape_percent"] == pytest.approx(0, abs=1e-9)
    path = tmp_path / "table.json"
    save_table(path, corrected)
    assert load_table(path).correction.fitted_on == tuple(n.to_string() for n in fitted_on)


@pytest.mark.parametrize("cached", [True, False])
def test_a_machine_at_another_pace_than_when_the_table_was_measured(tmp_path, cached):
    """Everything takes 1.3 times as long: that is told from the entries, and is no error of the table."""
    table = tiny_table()
    judged = drawn(table, 8, 4)
    truth = {network_name(n, 32, 10): 1.3 * table.predict_ms(n, 32, 10) for n in judged}
    truth[EMPTY] = 1.3 * table.baseline_ms
    truth |= {key: 1.3 * (entry.median_ms + table.baseline_ms) for key, entry in table.entries.items()}
    folder = prepared_cache(tmp_path, judged)
    if cached:
        for name in (EMPTY, *table.entries):
            ModelCache(folder, "int8").path(name).write_bytes(b"")
    device = FakeDevice(truth.get, device="cpu", runtime="runtime 1")
    facts, *_ = accuracy.check_table(table, device, TimingConfig(num_rounds=4), folder, 8, 0, 4)
    error = facts["as_it_is"]["bias_percent"]
    if cached:
        assert facts["as_it_is"]["pace"] == pytest.approx(1.3) and error == pytest.approx(0, abs=1e-9)
    else:
        assert "pace" not in facts["as_it_is"] and error == pytest.approx(100 / 1.3 - 100)


def test_checking_a_table(tmp_path):
    """A device on which sums are 20 % low: so says the check, and the correction mends it."""
    table = tiny_table()
    judged = drawn(table, 10, 4)
    fitted_on = drawn(table, 5, 5, other_than=judged)
    facts, corrected, networks = check(table, tmp_path, judged + fitted_on, 10, 5, 4)
    assert [n.architecture for n in networks] == judged
    assert facts["as_it_is"] == facts["uncorrected"]
    # Entries sum to 1 / 1.25 of the truth; the baseline is right.
    assert -20 < facts["uncorrected"]["bias_percent"] < -19
    assert facts["corrected"]["mape_percent"] == pytest.approx(0, abs=1e-9)
    assert corrected.correction == Correction(
        pytest.approx(1.25), 0.0, 5, tuple(n.to_string() for n in fitted_on), ANY
    )
    assert facts["corrected"]["noise_floor_percent"] == 0
    save_plot(tmp_path / "plot.svg", corrected, networks)
    assert "<svg" in (tmp_path / "plot.svg").read_text()


def test_refuses_to_check_another_device(tmp_path):
    device = FakeDevice(lambda name: 1.0, device="another cpu", kernels="xnnpack")
    with pytest.raises(UserError) as caught:
        accuracy.check_table(tiny_table(), device, TimingConfig(), str(tmp_path), 5, 0, 0)
    assert "device cpu there, another cpu here" in str(caught.value)
    assert "kernels builtin there, xnnpack here" in str(caught.value)


def test_refuses_to_check_a_published_table(tmp_path):
    identity = dataclasses.replace(tiny_table().identity, backend="published")
    with pytest.raises(UserError, match="cannot be checked here"):
        accuracy.check_table(
            tiny_table(identity=identity), FakeDevice(None), TimingConfig(), str(tmp_path), 5, 0, 0
        )
