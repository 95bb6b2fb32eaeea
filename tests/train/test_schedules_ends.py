"""Learning rates at the first and the last steps."""

import math

import pytest

from nas_tf.train.schedules import cosine, steps_per_epoch


def test_a_run_of_warm_up_alone_ends_at_zero():
    assert [cosine(s, 4, 0.8, 4) for s in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert cosine(5, 4, 0.8, 4) == 0.0


def test_every_rate_of_a_short_run():
    # 0.5 · (1 + cos(π k / 4)) for k = 0 … 4, after two steps of warm-up
    wanted = [0.5, 1.0, *(0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(5)), 0.0]
    assert [cosine(s, 6, 1.0, 2) for s in range(8)] == pytest.approx(wanted, abs=1e-15)


def test_one_step_has_the_whole_rate():
    assert cosine(0, 1, 0.3) == 0.3 and cosine(1, 1, 0.3) == 0.0


def test_the_rates_fall_from_step_to_step():
    rates = [cosine(s, 50, 1.0) for s in range(51)]
    assert all(a > b for a, b in zip(rates, rates[1:])) and min(rates) == 0.0


@pytest.mark.parametrize(
    "examples, batch, steps", [(1, 1, 1), (7, 7, 1), (8, 7, 2), (6, 7, 1), (0, 7, 0), (1281167, 256, 5005)]
)
def test_steps_hold_every_example(examples, batch, steps):
    assert steps_per_epoch(examples, batch) == steps
