"""Pieces of the integer form against exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from nas_tf.base.errors import UserError
from quant import integer_model
from quant.integer_model import Grid, grid_of
from quant.quantizer_list import ActivationRange

layers = keras.layers


def _range(low: float, high: float) -> ActivationRange:
    return ActivationRange(None, "s", None, None, (low, high))


@pytest.mark.parametrize(
    "low, high, zero",
    [
        (0.0, 255.0, 0),
        (-255.0, 0.0, 255),
        (-128.0, 127.0, 128),
        (-1.5, 253.5, 2),
        (-1.25, 253.75, 1),
        (1.0, 256.0, 0),
        (-256.0, -1.0, 255),
    ],
)
def test_zero_is_nudged_onto_the_grid_halves_upwards(low, high, zero):
    grid = grid_of(_range(low, high))
    assert (grid.scale, grid.low, grid.high) == (1.0, -zero, 255 - zero)
    assert grid.scale.dtype == np.float32


@pytest.mark.parametrize("low, high", [(0.5, 0.5), (1.0, -1.0)])
def test_a_range_without_width_is_refused(low, high):
    with pytest.raises(UserError, match="range of 's' was never set"):
        grid_of(_range(low, high))


def test_an_input_is_rounded_and_clipped():
    step = integer_model._quantize(Grid(np.float32(0.5), -3, 4))
    found = step(tf.constant([-9.0, -1.5, -0.25, 0.25, 0.3, 0.75, 2.0, 2.3]))
    # Halves of a step to even: −0.5 → 0, 0.5 → 0, 1.5 → 2
    assert found.numpy().tolist() == [-3, -3, 0, 0, 1, 2, 4, 4]


def test_requantizing_clips_before_it_rounds():
    found = integer_model._requantize(
        tf.constant([[5.0, -11.0, 100.0, -100.0, 3.0]]), np.float32(0.5), Grid(np.float32(1), -7, 9)
    )
    assert found.numpy().tolist() == [[2, -6, 9, -7, 2]]  # 2.5 → 2, −5.5 → −6, 1.5 → 2


@pytest.mark.parametrize(
    "limit, high, wanted",
    [
        (6.0, 255, [0, 0, 5, 60, 60]),
        (None, 255, [0, 0, 5, 60, 255]),
        (6.0, 50, [0, 0, 5, 50, 50]),
        (None, 100, [0, 0, 5, 60, 100]),
        (6.04, 255, [0, 0, 5, 60, 60]),
    ],
)
def test_relu_in_steps(limit, high, wanted):
    step = integer_model._relu(layers.ReLU(limit), Grid(np.float32(0.1), -128, high))
    assert step(tf.constant([-100.0, -1.0, 5.0, 60.0, 255.0])).numpy().tolist() == wanted


@pytest.mark.parametrize("seed", range(4))
def test_an_addition_is_the_rounded_exact_sum(seed):
    random = np.random.default_rng(seed)
    scales = np.float32(np.exp(random.uniform(-6, 0, 3)))
    out = Grid(scales[2], -100, 155)
    a, b = random.integers(-128, 128, (2, 500)).astype(np.float32)
    found = integer_model._add(Grid(scales[0], -128, 127), Grid(scales[1], -128, 127), out)(
        tf.constant(a), tf.constant(b)
    ).numpy()
    exact = np.array(
        [
            float(
                Fraction(float(x)) * Fraction(float(scales[0]))
                + Fraction(float(y)) * Fraction(float(scales[1]))
            )
            / scales[2]
            for x, y in zip(a, b)
        ]
    )
    # 21-bit multipliers: far less than a thousandth of a step over 8-bit values.
    clear = np.abs(np.abs(exact % 1) - 0.5) > 1e-3
    np.testing.assert_array_equal(found[clear], np.clip(np.round(exact), -100, 155)[clear])
    assert clear.mean() > 0.95


def test_halves_of_an_addition_go_up():
    grid = Grid(np.float32(0.5), -128, 127)
    found = integer_model._add(grid, grid, Grid(np.float32(1.0), -128, 127))(
        tf.constant([1.0, -1.0, 3.0, -3.0]), tf.constant([0.0, 0.0, 0.0, 0.0])
    )
    assert found.numpy().tolist() == [1, 0, 2, -1]


def test_multipliers_of_an_addition_have_21_bits():
    """The larger one lies in [2^20, 2^21), so its ratio is off by 2^-21 of itself at most."""
    a = np.float32([1.0])
    for ratio in (0.3, 0.9999, 1.0, 1.7, 2.0, 5.3):
        first = Grid(np.float32(ratio * 2**-3), -128, 127)
        wide = Grid(np.float32(2**-23), -(2**30), 2**30)  # steps so fine that all bits are seen
        found = integer_model._add(first, first, wide)(tf.constant(a), tf.constant(0 * a)).numpy()[0]
        exact = np.float64(np.float32(ratio * 2**-3)) / 2**-23
        assert abs(found - exact) <= 0.5 + exact * 2**-21


def test_a_mean_is_the_rounded_exact_mean():
    random = np.random.default_rng(0)
    x = random.integers(-128, 128, (3, 4, 6, 5)).astype(np.float32)
    given, out = Grid(np.float32(0.25), -128, 127), Grid(np.float32(0.125), -60, 195)
    for keep in (False, True):
        found = integer_model._mean(layers.GlobalAveragePooling2D(keepdims=keep), given, out)(
            tf.constant(x)
        ).numpy()
        wanted = np.clip(np.rint(x.sum((1, 2), keepdims=keep) * 2 / 24), -60, 195)
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("depthwise", [False, True])
def test_a_strided_convolution_without_bias(depthwise):
    random = np.random.default_rng(1)
    integers = random.integers(-127, 128, (3, 3, 4, 1) if depthwise else (3, 3, 4, 2))
    scales = np.array([0.01, 0.02, 0.03, 0.04] if depthwise else [0.01, 0.02])

    layer = layers.DepthwiseConv2D(3, 2, "same") if depthwise else layers.Conv2D(2, 3, 2, "valid")
    x = random.integers(-128, 128, (2, 7, 7, 4)).astype(np.float32)
    out = Grid(np.float32(2.0), -100, 155)

    class Kernel:
        bias = None
        kernel = tf.constant((integers * (scales[:, None] if depthwise else scales)).astype(np.float32))

        @staticmethod
        def against_kernel(values):
            return values[:, None] if depthwise else values

    Kernel.scales = scales
    found = integer_model._convolution(Kernel, layer, Grid(np.float32(0.5), -128, 127), out)(
        tf.constant(x)
    ).numpy()
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]) if depthwise else x
    side = (padded.shape[1] - 3) // 2 + 1
    wanted = np.empty((2, side, side, len(scales)))
    for i in range(side):
        for j in range(side):
            patch = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            sums = (
                np.einsum("nhwc,hwc->nc", patch, integers[..., 0])
                if depthwise
                else np.einsum("nhwc,hwco->no", patch, integers)
            )
            wanted[:, i, j] = np.clip(
                np.rint(np.float32(sums) * (np.float32(0.5) * np.float32(scales) / np.float32(2.0))),
                -100,
                155,
            )
    np.testing.assert_array_equal(found, wanted)


def test_only_inference_has_an_integer_form(converted):
    with pytest.raises(AssertionError):
        integer_model.IntegerModel(converted[0])(np.zeros((1, 16, 16, 3), np.float32), training=True)


def test_grids_are_told_by_layer(converted):
    model = integer_model.IntegerModel(converted[0])
    assert model.grid("quant_pool") == grid_of(model._ranges["quant_pool"])
    assert model.grid("input_quantize") == Grid(np.float32(1 / 128), -128, 127)
