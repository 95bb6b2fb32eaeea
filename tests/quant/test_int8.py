"""The integer grid by hand, and that the operations of TensorFlow and the files have the same."""

import numpy as np
import pytest
import tensorflow as tf

from quant import int8
from quant.int8 import Grid

HALVES = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])


def test_the_two_roundings_differ_on_halves_alone():
    np.testing.assert_array_equal(int8.to_even(HALVES), [-2, -2, 0, 0, 2, 2])
    np.testing.assert_array_equal(int8.half_up(HALVES), [-2, -1, 0, 1, 2, 3])
    others = np.random.default_rng(0).uniform(-200, 200, 1000)
    np.testing.assert_array_equal(int8.to_even(others), int8.half_up(others))


def test_rescaling_rounds_to_even_and_fake_quantization_half_up():
    """The first as `tf.round`; the second as the operation of which tfmot's quantizers are made."""
    np.testing.assert_array_equal(int8.to_even(HALVES), tf.round(HALVES))
    faked = tf.quantization.fake_quant_with_min_max_vars(HALVES.astype(np.float32), -127.0, 128.0)
    np.testing.assert_array_equal(int8.half_up(HALVES), faked)


@pytest.mark.parametrize("rounding", [int8.to_even, int8.half_up])
def test_kernels_leave_out_minus_128(rounding):
    found = int8.kernel_integers(np.array([-500.0, -128.0, -127.4, 0.2, 126.6, 127.5, 1e9]), rounding)
    np.testing.assert_array_equal(found, [-127, -127, -127, 0, 127, 127, 127])


def test_steps_of_kernels_and_activations():
    assert int8.kernel_scale(254.0) == 2.0
    np.testing.assert_array_equal(int8.kernel_scale(np.array([127.0, 63.5])), [1.0, 0.5])
    assert int8.kernel_scale(tf.constant([12.7])).dtype == tf.float32
    assert int8.activation_scale(-51.0, 204.0) == 1.0


def test_zero_is_a_whole_number_of_steps_from_the_lowest():
    assert int8.zero_level(-0.5, 1.0, int8.to_even) == 0 and int8.zero_level(-0.5, 1.0, int8.half_up) == 1
    assert int8.zero_level(-3.0, 0.5, int8.to_even) == 6


@pytest.mark.parametrize("dtype, limits", [("int8", (-128, 127)), ("uint8", (0, 255))])
def test_ends(dtype, limits):
    assert int8.ends(dtype) == limits


def test_the_inputs_grid_holds_every_pixel_exactly():
    """real = scale · (integer − zero point) is (pixel − 128) / 128 for both integer types."""
    from nas_tf.data.preprocess import to_network_input

    pixels = np.arange(256, dtype=np.uint8)
    real = to_network_input(pixels).numpy()
    assert (real[0], real[-1]) == int8.INPUT_RANGE
    for dtype, zero_point in int8.INPUT_ZERO_POINTS.items():
        integers = int8.pixels_as(pixels, dtype)
        assert integers.dtype == dtype
        np.testing.assert_array_equal(int8.INPUT_SCALE * (integers.astype(int) - zero_point), real)
    assert int8.INPUT_ZERO_POINTS == {"uint8": 128, "int8": 0}


def test_the_inputs_range_has_the_inputs_grid():
    assert Grid.of_range(*int8.INPUT_RANGE) == Grid(np.float32(1 / 128), -128, 127)


def test_a_grid_holds_zero_and_spans_255_steps():
    random = np.random.default_rng(1)
    for low, high in np.sort(random.normal(0, 3, (200, 2)), axis=1):
        grid = Grid.of_range(float(low), float(high))
        assert grid.low <= 0 <= grid.high and grid.high - grid.low == 255
        if low <= 0 <= high:  # moved by at most half a step to hold zero
            assert abs(grid.low * grid.scale - low) <= 0.5001 * grid.scale


def test_values_out_of_range_are_not_clipped():
    grid = Grid(np.float32(0.5), -10, 245)
    np.testing.assert_array_equal(grid.integers(np.float32([-100.0, 0.25, 0.75, 1000.0])), [-200, 0, 2, 2000])
