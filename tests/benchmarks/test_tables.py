"""What the benchmarks say of tables, against counting by hand."""

import dataclasses
import itertools

import pytest

from benchmarks.table_figures import most_macs, ratios
from nas_tf.latency.keys import parse_key
from nas_tf.space.layer_spec import BlockSpec
from nas_tf.space.search_space import TINY
from tests.latency.test_table import tiny_table


@pytest.mark.parametrize("limit", [21.5, 24.0, 27.0])
def test_no_network_within_the_limit_has_more_multiply_adds(limit):
    table = tiny_table()
    found = most_macs(table, limit)
    assert table.predict_ms(found, 32, 10) <= limit
    offered = TINY.block_candidates()
    best = 0
    for operations in itertools.product(*offered):
        network = TINY.architecture(operations)
        if table.predict_ms(network, 32, 10) <= limit:
            best = max(best, network.macs(32, 10))
    assert found.macs(32, 10) == best


def test_ratios_are_by_the_largest_depthwise_kernel():
    first = tiny_table()
    second = dataclasses.replace(
        first,
        entries={
            key: dataclasses.replace(entry, median_ms=entry.median_ms * (9 if _kernel(key) == 7 else 2))
            for key, entry in first.entries.items()
        },
    )
    found = ratios(first, second)
    assert set(found) == {"depthwise 3×3", "depthwise 5×5", "depthwise 7×7", "no depthwise"}
    assert found.pop("depthwise 7×7") == pytest.approx(9)
    for values in found.values():
        assert values == pytest.approx(2)
    assert len(found["no depthwise"]) == 3  # stem, head, classifier


def _kernel(key):
    spec = parse_key(key)
    return spec.operation.kernel if isinstance(spec, BlockSpec) else 0
