"""Candidates out of proportion to their work: planted traps are found and named, and nothing else is."""

import dataclasses
import random
import re

import pytest

from nas_tf.latency.entries import Entry, Identity
from nas_tf.latency.keys import parse_key
from nas_tf.latency.slow_entries import SLOW_TIMES, of_network, slow_entries, slow_for_people
from nas_tf.latency.slow_traits import traits
from nas_tf.latency.table import LatencyTable, load_table
from nas_tf.space.layer_spec import BlockSpec
from nas_tf.space.operations.fused_bottleneck import FusedBottleneck
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck
from nas_tf.space.published import PROXYLESS_MOBILE
from nas_tf.space.search_space import find_space

FULL = tuple(find_space("full").latency_specs(160, 1000).values())


def work_ms(spec) -> float:
    """A device with no trap: 0.03 ns a multiply-add, a depthwise one twice that, 0.1 ns an element."""
    dense = depthwise = moved = 0
    size = spec.input_size
    for convolution in spec.convolutions:
        if convolution.depthwise:
            depthwise += convolution.macs(size)
        else:
            dense += convolution.macs(size)
        moved += convolution.elements(size)
        size = convolution.output_size(size)
    return 1e-3 + 3e-8 * dense + 6e-8 * depthwise + 1e-7 * moved


def table_of(specs, factor=lambda spec: 1.0, noise=0.1, kernels="xnnpack", spread=0.01) -> LatencyTable:
    """Every spec takes its work's time times `factor`, and up to ±`noise`."""
    chance = random.Random(0)
    times = {s.key: work_ms(s) * factor(s) * chance.uniform(1 - noise, 1 + noise) for s in specs}
    entries = {key: Entry(value, spread * value) for key, value in times.items()}
    identity = Identity("cpu", "host", "runtime 1", kernels, 1, "int8", "full", 160, 1.0, 1000)
    return LatencyTable(identity, entries)


def has_kernel(spec, kernel: int) -> bool:
    """Whether a depthwise convolution has this kernel."""
    return any(c.depthwise and c.kernel == kernel for c in spec.convolutions)


def test_a_kernel_that_is_a_trap_is_named_with_the_reason():
    table = table_of(FULL, lambda s: 30.0 if has_kernel(s, 7) else 1.0)
    (group,) = slow_entries(table)
    assert set(group.times) == {s.key for s in FULL if has_kernel(s, 7)}
    assert (len(group.times), group.candidates) == (22, 67)
    # 30 as planted, but for the noise of the entry and of the fit.
    assert all(30 * 0.75 < times < 30 * 1.3 for times in group.times.values())
    assert re.fullmatch(
        r"22 of 67 candidates, all with a 7×7 depthwise, take \d\d to \d\d times as long as the work in it "
        r"would: XNNPACK has depthwise kernels for at most 25 taps, 7×7 has 49",
        group.sentence(),
    )


def test_the_reason_is_stated_only_of_the_kernels_that_have_it():
    """The same on other kernels, or another kernel on XNNPACK: the trait, without XNNPACK's reason."""
    for kernels, side in (("builtin", 7), ("xnnpack", 5)):
        table = table_of(FULL, lambda s, k=side: 30.0 if has_kernel(s, k) else 1.0, kernels=kernels)
        (group,) = slow_entries(table)
        assert group.trait == f"with a {side}×{side} depthwise" and group.reason == ""


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_channel_counts_that_are_a_trap_are_named(lanes):
    widths = [(48, 64), (44, 64), (56, 48), (42, 32), (32, 58), (64, 80), (60, 48), (80, 72)]
    specs = [
        BlockSpec(20, i, o, s, operation)
        for i, o in widths
        for s in (1, 2)
        for operation in (InvertedBottleneck(4, 3), InvertedBottleneck(4, 5), FusedBottleneck(4, 3))
    ]
    odd = {
        s.key
        for s in specs
        if any(w % lanes for c in s.convolutions for w in (c.input_width, c.output_width))
    }
    assert 0 < len(odd) < len(specs)
    (group,) = slow_entries(table_of(specs, lambda s: 5.0 if s.key in odd else 1.0))
    assert set(group.times) == odd
    assert group.trait == f"with a channel count that is no multiple of {lanes}"
    assert f"vector instructions take {lanes} channels at once" in group.reason


def test_one_channel_count_is_named_and_no_reason_made_up():
    def has_96(spec):
        return any(96 in (c.input_width, c.output_width) for c in spec.convolutions)

    (group,) = slow_entries(table_of(FULL, lambda s: 8.0 if has_96(s) else 1.0))
    assert set(group.times) == {s.key for s in FULL if isinstance(s, BlockSpec) and has_96(s)}
    assert group.trait == "with 96 channels somewhere" and group.reason == ""
    assert group.sentence().endswith("times as long as the work in it would")


def test_two_traps_are_two_groups():
    def factor(spec):
        return 40.0 if has_kernel(spec, 7) else 6.0 if spec.stride == 2 else 1.0

    first, second = slow_entries(table_of(FULL, factor))
    assert (first.trait, len(first.times)) == ("with stride 2", 24)
    assert (second.trait, len(second.times)) == ("with a 7×7 depthwise", 14)  # those of stride 1
    assert not set(first.times) & set(second.times)
    summary = {"slow_entries": [g.to_json() for g in (first, second)]}
    assert list(slow_for_people(summary)) == ["slow", "slow (2)"]


def test_what_has_nothing_in_common_is_listed_without_a_trait():
    odd = FULL[20].key
    (group,) = slow_entries(table_of(FULL, lambda s: 20.0 if s.key == odd else 1.0))
    assert list(group.times) == [odd] and group.trait == group.reason == ""
    assert group.sentence().startswith(f"1 of 67 candidates, such as {odd!r}, takes ")


def test_what_few_of_their_kind_are_is_no_trait():
    """Two of 22 with a 5×5 are slow: that is not the 5×5's fault."""
    fives = [s for s in FULL if has_kernel(s, 5)]
    odd = {fives[2].key, fives[-1].key}
    assert fives[2].stride == fives[-1].stride == 1 and fives[2].input_size != fives[-1].input_size
    (group,) = slow_entries(table_of(FULL, lambda s: 20.0 if s.key in odd else 1.0))
    assert (
        set(group.times) == odd and group.trait == "" and " candidates, such as 'expanded" in group.sentence()
    )


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("kernels", ["builtin", "xnnpack"])
def test_a_table_without_a_trap_raises_no_alarm(noise, kernels):
    assert slow_entries(table_of(FULL, noise=noise, kernels=kernels)) == []


def test_just_under_the_threshold_is_silent_and_well_above_is_not():
    key = FULL[30].key
    for factor, found in ((0.7 * SLOW_TIMES, 0), (1.5 * SLOW_TIMES, 1)):
        table = table_of(FULL, lambda s, f=factor: f if s.key == key else 1.0, noise=0.0)
        assert len(slow_entries(table)) == found


def test_half_of_a_table_may_be_slow():
    """What is ordinary is what the fast ones take, however many the others are."""
    table = table_of(FULL, lambda s: 25.0 if has_kernel(s, 7) or has_kernel(s, 5) else 1.0)
    found = {key for group in slow_entries(table) for key in group.times}
    assert found == {s.key for s in FULL if has_kernel(s, 7) or has_kernel(s, 5)}


def test_an_entry_that_spreads_as_far_as_its_excess_is_not_called_slow():
    key = FULL[30].key
    table = table_of(FULL, lambda s: 5.0 if s.key == key else 1.0)
    assert len(slow_entries(table)) == 1
    noisy = dataclasses.replace(table.entries[key], spread_ms=table.entries[key].median_ms / 2)
    assert slow_entries(dataclasses.replace(table, entries=table.entries | {key: noisy})) == []


def test_too_few_blocks_are_not_judged():
    assert slow_entries(table_of(FULL[:6], lambda s: 50.0 if has_kernel(s, 7) else 1.0)) == []


def test_the_published_phone_table_raises_no_alarm(shared_data):
    table = load_table(shared_data / "proxylessnas/mobile_trim.yaml")
    assert slow_entries(table) == []


def test_a_network_is_told_of_its_own_traps_only():
    table = table_of(FULL, lambda s: 30.0 if has_kernel(s, 7) else 1.0)
    groups = slow_entries(table)
    keys = PROXYLESS_MOBILE.latency_keys(160, 1000)
    assert of_network(groups, keys) == groups
    assert of_network(groups, [key for key in keys if "kernel:7" not in key]) == []


def test_traits_of_a_block():
    block = parse_key("expanded_conv-input:16x16x24-output:16x16x30-expand:3-kernel:7-stride:1-idskip:0")
    texts = [trait.text for trait in traits(block, "xnnpack")]
    assert texts[:3] == [
        "with a 7×7 depthwise",
        "with a channel count that is no multiple of 4",
        "with a channel count that is no multiple of 8",
    ]
    assert {"with 24 channels somewhere", "with 72 channels somewhere", "with 30 channels somewhere"} <= set(
        texts
    )
    assert len(texts) == len(set(texts))
