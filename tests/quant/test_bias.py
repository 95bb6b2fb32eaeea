"""Weights end on the grid of the int8 kernels."""

import dataclasses

import numpy as np

from quant.bias import least_scales, put_on_grid, round_to_grid
from quant.quantizer_list import feeding_range, following_range, kernel_ranges


def test_biases_land_on_multiples_of_the_accumulator_step(quantized):
    qat_model, _ = quantized
    before = {k.source: k.bias.numpy() for k in kernel_ranges(qat_model)}
    largest = round_to_grid(qat_model)
    assert 0 < largest <= 0.5 + 1e-3
    for entry in kernel_ranges(qat_model):
        step = feeding_range(qat_model, entry.layer).scale * entry.scales
        counts = entry.bias.numpy().astype(np.float64) / step
        np.testing.assert_allclose(counts, np.round(counts), atol=2e-3)
        assert np.all(np.abs(entry.bias.numpy() - before[entry.source]) <= 0.5001 * step)


def test_rounding_twice_changes_nothing_more(quantized):
    qat_model, _ = quantized
    round_to_grid(qat_model)
    first = [w.copy() for w in qat_model.get_weights()]
    assert round_to_grid(qat_model) < 2e-3
    for old, new in zip(first, qat_model.get_weights()):
        np.testing.assert_allclose(old, new, rtol=1e-6)


def test_what_is_on_its_grid_stays_to_the_bit(quantized):
    qat_model, _ = quantized
    round_to_grid(qat_model)
    first = [w.copy() for w in qat_model.get_weights()]
    assert put_on_grid(qat_model) < 2e-3
    for kernel in kernel_ranges(qat_model):
        assert any(np.array_equal(kernel.kernel.numpy(), w) for w in first)
    for old, new in zip(first, qat_model.get_weights(), strict=True):
        np.testing.assert_allclose(old, new, rtol=1e-6)


def test_without_a_bias_the_output_step_alone_decides_the_least_kernel_step(quantized):
    qat_model, _ = quantized
    kernel = dataclasses.replace(kernel_ranges(qat_model)[0], bias=None)
    steps = [find(qat_model, kernel.layer).scale for find in (feeding_range, following_range)]
    # s_out / (s_in · s_kernel) ≤ 2^30
    np.testing.assert_allclose(least_scales(qat_model, kernel), steps[1] / (steps[0] * 2.0**30), rtol=1e-6)
