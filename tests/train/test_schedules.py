"""Learning rates and the steps of an epoch."""

import math

import pytest
import tensorflow as tf

from nas_tf.train import schedules


def test_cosine_has_the_closed_form():
    assert schedules.cosine(0, 100, 0.4) == 0.4
    assert schedules.cosine(50, 100, 0.4) == pytest.approx(0.2)
    assert schedules.cosine(25, 100, 0.4) == pytest.approx(0.2 * (1 + math.sqrt(0.5)))
    assert schedules.cosine(100, 100, 0.4) == schedules.cosine(130, 100, 0.4) == 0.0


def test_cosine_agrees_with_keras():
    keras = tf.keras.optimizers.schedules.CosineDecay(0.3, 37)
    for step in range(40):
        assert schedules.cosine(step, 37, 0.3) == pytest.approx(float(keras(step)), abs=1e-7)


def test_warmup_rises_linearly_to_the_cosine():
    rates = [schedules.cosine(step, 30, 1.0, warmup_steps=5) for step in range(7)]
    assert rates[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert rates[6] == pytest.approx(0.5 * (1 + math.cos(math.pi / 25)))


@pytest.mark.parametrize("examples, batch, steps", [(10, 5, 2), (11, 5, 3), (1, 64, 1)])
def test_steps_per_epoch(examples, batch, steps):
    assert schedules.steps_per_epoch(examples, batch) == steps
