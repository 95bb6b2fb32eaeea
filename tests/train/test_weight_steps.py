"""One weight step, against numpy."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from nas_tf.base.errors import UserError
from nas_tf.network.build import build_network
from nas_tf.network.losses import cross_entropy
from nas_tf.space.architecture import from_string
from nas_tf.train import optimizers, precision
from nas_tf.train.config import WeightStep
from nas_tf.train.moving_average import MovingAverage
from nas_tf.train.weight_trainer import WeightTrainer

TINY = from_string("s8x2 1_3c8 3_3c8x2 h16")
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def trainer(seed=0, **config):
    keras.utils.set_random_seed(1)
    with precision.policy(config.get("mixed_precision", False)):
        model = build_network(TINY, 16, 3)
        return WeightTrainer(model, WeightStep(**config), seed)


def step(subject, number=0, rate=0.1):
    subject.step(tf.constant(IMAGES), tf.constant(LABELS, tf.int64), number, rate)


def test_nesterov_momentum_has_the_closed_form():
    weight, untouched = tf.Variable([[1.0]]), tf.Variable([[1.0]])
    optimizer = optimizers.NesterovSgd({"a": weight, "b": untouched})
    value, momentum = 1.0, 0.0
    for gradient, rate in ((1.0, 0.1), (-0.5, 0.1), (2.0, 0.01)):
        optimizer.update("a", weight, tf.constant([[gradient]]), tf.constant(rate))
        # m ← 0.9 m + g, w ← w − η (g + 0.9 m): a falling rate acts on the remembered part too
        momentum = 0.9 * momentum + gradient
        value -= rate * (gradient + 0.9 * momentum)
        assert float(weight[0, 0]) == pytest.approx(value, rel=1e-6)
    assert float(untouched[0, 0]) == 1.0 and float(optimizer.slots["b"][0, 0]) == 0.0


def test_at_a_constant_rate_it_is_keras_own():
    ours, theirs = tf.Variable([1.0, -2.0]), tf.Variable([1.0, -2.0])
    optimizer = optimizers.NesterovSgd({"w": ours})
    keras_sgd = keras.optimizers.SGD(0.05, 0.9, nesterov=True)
    for gradient in np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32):
        optimizer.update("w", ours, tf.constant(gradient), tf.constant(0.05))
        keras_sgd.apply_gradients([(tf.constant(gradient), theirs)])
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_a_weight_step_is_the_gradient_with_decay_times_the_rate():
    subject = trainer(dropout=0.0, weight_decay=0.05, label_smoothing=0.3)
    weights = [v.numpy() for v in subject.model.trainable_variables]
    with tf.GradientTape() as tape:
        logits = subject.model((tf.cast(IMAGES, tf.float32) - 128) / 128, training=True)
        loss, _ = cross_entropy(logits, tf.constant(LABELS), 0.3)
    gradients = tape.gradient(loss, subject.model.trainable_variables)
    step(subject, rate=0.2)
    for before, gradient, after in zip(weights, gradients, subject.model.trainable_variables, strict=True):
        total = gradient + (0.05 * before if before.ndim > 1 else 0.0)
        np.testing.assert_allclose(after, before - 1.9 * 0.2 * total, atol=2e-5)


def test_decay_acts_on_kernels_alone():
    subject = trainer()
    decayed = {v.name for v in subject.model.trainable_variables if optimizers.decays(v)}
    kernels = {v.name for v in subject.model.trainable_variables if "kernel" in v.name}
    others = {
        v.name
        for v in subject.model.trainable_variables
        if any(word in v.name for word in ("gamma", "beta", "bias"))
    }
    assert decayed == kernels and kernels and others
    assert decayed | others == {v.name for v in subject.model.trainable_variables}


def test_decay_is_the_gradient_of_the_squared_norm():
    kernel, bias = tf.Variable([[2.0, -4.0]]), tf.Variable([3.0])
    found = optimizers.with_weight_decay([tf.ones([1, 2]), tf.ones([1])], [kernel, bias], 0.5)
    assert found[0].numpy().tolist() == [[2.0, -1.0]] and found[1].numpy().tolist() == [1.0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_with_smoothed_labels(smoothing):
    logits = np.random.default_rng(0).normal(size=(4, 5))
    labels = np.array([0, 4, 2, 2])
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = np.eye(5)[labels] * (1 - smoothing) + smoothing / 5
    wanted = -np.mean(np.sum(targets * log_p, axis=1))
    found, correct = cross_entropy(tf.constant(logits, tf.float32), tf.constant(labels), smoothing)
    assert float(found) == pytest.approx(wanted, rel=1e-5)
    assert float(correct) == np.sum(logits.argmax(1) == labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_the_loss_of_training_is_keras_own_to_the_bit(smoothing):
    random = np.random.default_rng(1)
    logits = tf.constant(random.normal(size=(32, 10)) * 5, tf.float32)
    labels = tf.constant(random.integers(0, 10, 32))
    keras_loss = keras.losses.categorical_crossentropy(
        tf.one_hot(labels, 10), logits, from_logits=True, label_smoothing=smoothing
    )
    assert float(cross_entropy(logits, labels, tf.constant(smoothing))[0]) == float(
        tf.reduce_mean(keras_loss)
    )


def test_training_lowers_the_loss_and_counts():
    subject = trainer(dropout=0.0)
    losses = []
    for number in range(60):
        subject.begin_epoch()
        step(subject, number, 0.1)
        losses.append(subject.figures()["loss"])
    # Six images are learned by heart: what is left is mostly the entropy of smoothed labels, 0.29.
    assert losses[-1] < 0.5 * losses[0]
    assert subject.figures()["train_top1"] > 0.5
    assert subject.figures()["train_top1"] in [i / 6 for i in range(7)]
    subject.begin_epoch()
    assert subject.figures() == {"loss": 0.0, "train_top1": 0.0}  # nothing yet


def test_dropout_is_a_function_of_seed_and_step():
    def after(seed, number):
        subject = trainer(seed, dropout=0.5)
        step(subject, number)
        return subject.model.get_layer("logits").kernel.numpy()

    assert (after(0, 3) == after(0, 3)).all()
    assert (after(0, 3) != after(0, 4)).any() and (after(0, 3) != after(1, 3)).any()


def test_dropout_is_off_in_evaluation():
    subject = trainer(dropout=0.9)
    batch = [(tf.constant(IMAGES), tf.constant(LABELS))]
    assert subject.evaluate(batch).top1 == subject.evaluate(batch).top1


def test_a_loss_that_is_no_number_ends_the_run():
    subject = trainer()
    subject.model.get_layer("logits").bias.assign([float("nan")] * 3)
    step(subject)
    with pytest.raises(UserError, match="no longer a finite number; use a smaller --learning_rate"):
        subject.figures()


@pytest.mark.parametrize("option", ["jit_compile", "mixed_precision"])
def test_faster_steps_learn_the_same(option):
    """One step from the same weights, compared on the logits' bias: float32 but for rounding."""
    plain, fast = trainer(dropout=0.0), trainer(dropout=0.0, **{option: True})
    step(plain)
    step(fast)
    wanted, found = (t.model.get_layer("logits").bias.numpy() for t in (plain, fast))
    assert np.allclose(found, wanted, atol=1e-6 if option == "jit_compile" else 3e-3)
    assert all(v.dtype == tf.float32 for v in fast.model.weights)


def test_the_policy_ends_with_its_context():
    with precision.policy(True):
        assert keras.mixed_precision.global_policy().compute_dtype == "bfloat16"
    assert keras.mixed_precision.global_policy().name == "float32"


def test_the_moving_average_has_the_closed_form():
    model = keras.Sequential([keras.layers.Dense(1, use_bias=False, input_shape=(1,))])
    weight = model.weights[0]
    weight.assign([[1.0]])
    average, wanted = MovingAverage(model, 0.5), 1.0
    for number, value in enumerate([3.0, -2.0, 5.0, 5.0]):
        weight.assign([[value]])
        average.update(tf.constant(number))
        decay = min(0.5, (1 + number) / (10 + number))
        wanted = decay * wanted + (1 - decay) * value
    with average.in_place():
        assert float(weight[0, 0]) == pytest.approx(wanted, rel=1e-6)
    assert float(weight[0, 0]) == 5.0


def test_the_moving_average_is_tensorflows_to_the_bit():
    model = keras.Sequential([keras.layers.Dense(3, input_shape=(4,)), keras.layers.BatchNormalization()])
    step = tf.Variable(0)
    theirs = tf.train.ExponentialMovingAverage(0.9, num_updates=step)
    ours, random = MovingAverage(model, 0.9), np.random.default_rng(0)
    theirs.apply(model.weights)
    for number in range(30):
        for weight in model.weights:
            weight.assign(random.normal(size=weight.shape))
        step.assign(number)
        theirs.apply(model.weights)
        ours.update(tf.constant(number))
    for weight, average in zip(model.weights, ours.averages, strict=True):
        np.testing.assert_array_equal(average, theirs.average(weight))


def test_no_average_costs_nothing():
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    assert MovingAverage(model, 0.0).averages == []
