"""Factors of layers, fitted on networks whose layers' costs are known."""

import dataclasses
import json

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.latency import accuracy, layer_factors
from nas_tf.latency.correction import fit_correction
from nas_tf.latency.entries import Correction
from nas_tf.latency.layer_factors import LayerFactors, Layers
from nas_tf.latency.random_networks import random_architectures
from nas_tf.latency.table import load_table, save_table
from nas_tf.latency.whole_networks import Measured
from nas_tf.space.layer_spec import BlockSpec
from nas_tf.space.search_space import TINY
from tests.latency.test_table import tiny_table


def _is_large(spec):
    return isinstance(spec, BlockSpec) and getattr(spec.operation, "kernel", 0) == 7


def _measured(table, count, seed, large=1.0, scale=1.2, noise=0.0):
    """Networks in which entries take `scale` times, those of 7×7 also `large` times, what they do alone."""
    rng, found = np.random.default_rng(seed), []
    for network in random_architectures(TINY, count, seed):
        specs = network.layers(32, 10)
        total = scale * sum(table.cost_ms(s) * (large if _is_large(s) else 1.0) for s in specs)
        value = table.baseline_ms + total * (1 + noise * rng.standard_normal())
        found.append(Measured(network, value, (value, value)))
    return found


def _error(table, correction, others):
    return accuracy.report(dataclasses.replace(table, correction=correction), others)["mape_percent"]


def test_what_one_kind_of_layer_costs_more_in_networks_is_found():
    table = tiny_table()
    found = fit_correction(table, _measured(table, 40, seed=0, large=1.08))
    others = _measured(table, 20, seed=7, large=1.08)
    plain = fit_correction(table, _measured(table, 10, seed=0, large=1.08))  # too few for factors
    assert found.factors.keys() == table.entries.keys() and not plain.factors
    assert _error(table, found, others) < 0.3 * _error(table, plain, others)
    specs = TINY.latency_specs(32, 10)
    ratio = np.mean([found.factors[k] for k, s in specs.items() if _is_large(s)]) / np.mean(
        [found.factors[k] for k, s in specs.items() if isinstance(s, BlockSpec) and not _is_large(s)]
    )
    assert ratio == pytest.approx(1.08, abs=0.02)


def test_noise_alone_leaves_the_error_on_others_that_of_a_factor():
    table = tiny_table()
    for seed in range(5):
        found = fit_correction(table, _measured(table, 32, seed=seed, noise=0.01))
        assert _error(table, found, _measured(table, 40, seed=100 + seed)) < 1


def test_one_disturbed_network_brings_no_factors():
    table = tiny_table()
    networks = _measured(table, 24, seed=1)
    networks[2] = dataclasses.replace(networks[2], median_ms=10 * networks[2].median_ms)
    found = fit_correction(table, networks)
    assert found.scale == pytest.approx(1.2) and not found.factors


def test_the_weights_are_those_of_ridge_regression():
    """(XᵀX / σ² + I / (τ²c))⁻¹ Xᵀ r / σ²: another way to write the posterior mean."""
    table, scale = tiny_table(), 1.1
    networks = _measured(table, 20, seed=3, large=1.05, noise=0.01)
    layers, measured = [], []
    for network in networks:
        specs = [s for s in network.architecture.layers(32, 10) if s.key is not None]
        layers.append(Layers(specs, [table.cost_ms(s) for s in specs]))
        measured.append(network.median_ms - table.baseline_ms)
    model = LayerFactors(scale, layers, np.array(measured))
    names = sorted({n for one in layers for s in one.specs for n in layer_factors._features(s)}, key=repr)
    design = np.zeros((20, len(names)))
    for i, one in enumerate(layers):
        for spec, cost in zip(one.specs, one.costs_ms, strict=True):
            for name in layer_factors._features(spec):
                design[i, names.index(name)] += scale * cost / measured[i]
    errors = 1 - scale * np.array([sum(one.costs_ms) for one in layers]) / measured
    variance = 0.05**2 / np.mean((design**2).sum(axis=1))
    precision = design.T @ design / 0.01**2 + np.eye(len(names)) / variance
    weights = np.linalg.solve(precision, design.T @ errors / 0.01**2)
    for spec in layers[0].specs:
        expected = 1 + sum(weights[names.index(n)] for n in layer_factors._features(spec))
        assert model.factor(spec) == pytest.approx(expected, abs=1e-6)
    predicted = scale * sum(model.factor(s) * c for s, c in zip(*layers[0], strict=True))
    assert model.predict_ms(layers[0]) == pytest.approx(predicted)


def test_a_table_with_factors_is_written_and_read(tmp_path):
    table = tiny_table()
    key = next(iter(table.entries))
    correction = Correction(1.1, 0.0, 0, factors={key: 0.9})
    save_table(tmp_path / "table.json", dataclasses.replace(table, correction=correction))
    read = load_table(tmp_path / "table.json")
    assert read.correction == correction and read.correction.of(key) == pytest.approx(0.99)
    spec = TINY.latency_specs(32, 10)[key]
    assert read.cost_ms(spec) == pytest.approx(0.99 * table.cost_ms(spec))
    assert correction.figures()["least_layer_factor"] == 0.9


@pytest.mark.parametrize(
    ("factors", "said"),
    [
        ([], "factors' are no object"),
        ({"a": 0}, "has a correction with the factor 0.0 for a; a factor is 0.1 to 10"),
        ({"a": "x"}, "a finite number is needed"),
    ],
)
def test_factors_that_are_none_are_refused(tmp_path, factors, said):
    save_table(tmp_path / "table.json", tiny_table())
    content = json.loads((tmp_path / "table.json").read_text())
    content["correction"]["factors"] = factors
    (tmp_path / "table.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        load_table(tmp_path / "table.json")


def test_tables_from_before_have_none(tmp_path):
    save_table(tmp_path / "table.json", tiny_table())
    content = json.loads((tmp_path / "table.json").read_text())
    del content["correction"]["factors"]
    (tmp_path / "table.json").write_text(json.dumps(content))
    assert load_table(tmp_path / "table.json").correction.factors == {}
