"""Keys read back into layers; estimates of missing entries."""

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.latency.estimate import Estimator, layer_features
from nas_tf.latency.keys import nearest, parse_key
from nas_tf.latency.table import load_table
from nas_tf.space.layer_spec import BlockSpec, StemSpec
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck
from nas_tf.space.search_space import FULL, SPACES


@pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)
@pytest.mark.parametrize("resolution", [32, 160, 224])
def test_keys_read_back(space, resolution):
    for multiplier in (0.5, 1.0):
        specs = space.scaled(multiplier).latency_specs(resolution, 1000)
        for key, spec in specs.items():
            assert parse_key(key) == spec


@pytest.mark.parametrize(
    "key",
    [
        "",
        "Conv",
        "Conv-input:0x0x3-output:0x0x8",
        "Conv-input:8x9x3-output:4x4x8",
        "Conv-input:8x8x3-output:5x5x8",
        "expanded_conv-input:8x8x8-output:4x4x8-expand:3-kernel:3-stride:1-idskip:1",
        "Logits-input:7x7x1280-output:-5",
        "x" * 10_000,
    ],
)
def test_refuses_what_is_no_key(key):
    with pytest.raises(UserError, match="is not the key of a layer"):
        parse_key(key)


def test_a_block_without_a_shortcut_has_a_key_of_its_own():
    with_shortcut, without = (BlockSpec(8, 8, 8, 1, InvertedBottleneck(3, 3), skip) for skip in (True, False))
    assert without.key == "expanded_conv-input:8x8x8-output:8x8x8-expand:3-kernel:3-stride:1-idskip:0"
    assert parse_key(without.key) == without != parse_key(with_shortcut.key)


def test_nearest_prefers_the_same_kind_and_shape():
    keys = list(FULL.latency_specs(224, 1000))
    spec = BlockSpec(56, 24, 24, 1, InvertedBottleneck(4, 5))
    for key in nearest(spec, keys):
        assert parse_key(key).input_size == 56 and parse_key(key).output_width == 24
    assert nearest(StemSpec(200, 3, 32, 2), keys, 1) == ["Conv-input:224x224x3-output:112x112x32"]


def test_estimates_recover_a_linear_device():
    """Entries made by non-negative coefficients are found again exactly, on other layers too."""
    coefficients = np.array([0.01, 2e-8, 5e-8, 4e-8, 3e-8, 1e-8, 1e-7])
    entries = {
        key: float(layer_features(spec) @ coefficients) for key, spec in FULL.latency_specs(224, 1000).items()
    }
    other = BlockSpec(28, 64, 96, 2, InvertedBottleneck(4, 5))
    expected = float(layer_features(other) @ coefficients)
    assert Estimator(entries).estimate_ms(other) == pytest.approx(expected, rel=1e-6)


def test_features_count_multiply_adds():
    """Dense and depthwise multiply-adds sum to the layer's, whatever its kernel."""
    for spec in FULL.latency_specs(224, 1000).values():
        assert layer_features(spec)[1:5].sum() == spec.macs


def test_too_few_entries_to_estimate_from():
    with pytest.raises(UserError, match="too small to estimate"):
        Estimator({"Logits-input:7x7x1280-output:1000": 1.0})


def test_left_out_entries_of_a_phone_are_estimated(shared_data):
    """Each block of the published table estimated from the others: right within 15 % on average."""
    table = load_table(shared_data / "proxylessnas" / "mobile_trim.yaml")
    measured = {key: entry.median_ms for key, entry in table.entries.items()}
    errors = []
    for key in filter(lambda key: key.startswith("expanded"), measured):
        rest = {k: v for k, v in measured.items() if k != key}
        errors.append(abs(Estimator(rest).estimate_ms(parse_key(key)) / measured[key] - 1))
    assert np.mean(errors) < 0.15 and np.median(errors) < 0.12
