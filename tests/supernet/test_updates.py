"""The update of a weight step: its rate, its smoothing, its decay and its momentum."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from nas_tf.latency.candidate_costs import offered_candidates
from nas_tf.search.weight_optimizer import WeightOptimizer
from nas_tf.space.operations.zero import ZERO
from nas_tf.space.search_space import TINY
from nas_tf.supernet.eager_steps import EagerSteps
from nas_tf.supernet.graph_steps import GraphSteps
from nas_tf.supernet.steps import make_steps, weight_step
from nas_tf.supernet.supernet import Supernet
from tests.search.helpers import MICRO

ACTIVE, CLASSES, SIZE = [0, 1], 10, 16
DECAY, MOMENTUM, SMOOTHING, RATES = 0.3, 0.6, 0.25, (0.1, 0.03, 0.0)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return (
        tf.constant(rng.normal(size=(6, SIZE, SIZE, 3)), tf.float32),
        tf.constant(rng.integers(0, CLASSES, 6)),
    )


def _supernet() -> Supernet:
    keras.utils.set_random_seed(5)
    net = Supernet(MICRO, SIZE, CLASSES)
    net.after.trained.assign(3.0 * net.after.trained)
    return net


def _gradients(net: Supernet, images, labels):
    """(loss, gradient of each active path's vector) by TensorFlow, path after path."""
    paths = net.active_paths(ACTIVE)
    vectors = [tf.constant(path.trained.numpy()) for path in paths]
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        x, decayed = images, 0.0
        for path, vector in zip(paths, vectors, strict=True):
            y = path.kind.chain.run(x, vector)[0]
            x = x + y if path.has_shortcut else y
            for part in path.kind.chain.unpack(vector):
                if len(part.shape) == 4:
                    decayed += DECAY / 2 * tf.reduce_sum(part**2)
        targets = (1 - SMOOTHING) * tf.one_hot(labels, CLASSES) + SMOOTHING / CLASSES
        loss = -tf.reduce_mean(tf.reduce_sum(targets * tf.nn.log_softmax(x), 1))
        total = loss + decayed
    hits = int(tf.reduce_sum(tf.cast(tf.argmax(x, 1) == labels, tf.int32)))
    return float(loss), hits, tape.gradient(total, vectors)


def test_every_step_has_the_rate_it_is_given(batch):
    net = _supernet()
    steps, optimizer = make_steps(net), WeightOptimizer(net, MOMENTUM, DECAY)
    paths = net.active_paths(ACTIVE)
    slots = [np.zeros(path.trained.shape) for path in paths]
    for rate in RATES:
        loss, hits, gradients = _gradients(net, *batch)
        expected = []
        for index, (path, g) in enumerate(zip(paths, gradients, strict=True)):
            # m ← μ·m + g,  w ← w − η·(g + μ·m)
            slots[index] = MOMENTUM * slots[index] + g.numpy()
            expected.append(path.trained.numpy() - rate * (g.numpy() + MOMENTUM * slots[index]))
        found = weight_step(steps, optimizer, *batch, ACTIVE, rate, SMOOTHING)
        assert tuple(map(float, found)) == (pytest.approx(loss, rel=1e-5), hits)
        for path, wanted in zip(paths, expected, strict=True):
            np.testing.assert_allclose(path.trained, wanted, atol=2e-4)


def test_the_momentum_is_that_of_the_path_alone(batch):
    net = _supernet()
    steps, optimizer = make_steps(net), WeightOptimizer(net, MOMENTUM, 0.0)
    weight_step(steps, optimizer, *batch, ACTIVE, 0.1)
    other = [1, 0]
    resting = [p for p in net.active_paths(ACTIVE) if p not in net.active_paths(other)]
    held = [(p.trained.numpy(), optimizer.slots[p.name].numpy()) for p in resting]
    weight_step(steps, optimizer, *batch, other, 0.1)
    assert resting
    for path, (weights, slot) in zip(resting, held, strict=True):
        np.testing.assert_array_equal(path.trained, weights)
        np.testing.assert_array_equal(optimizer.slots[path.name], slot)


def test_what_the_optimizer_keeps_is_by_default_the_projects():
    from nas_tf.train.optimizers import MOMENTUM as momentum
    from nas_tf.train.optimizers import WEIGHT_DECAY

    optimizer = WeightOptimizer(_supernet())
    assert optimizer.weight_decay == WEIGHT_DECAY
    assert float(optimizer._momentum) == pytest.approx(momentum)
    assert all(not slot.trainable and not slot.numpy().any() for slot in optimizer.slots.values())


class _Descent:
    """w ← w − η·g: the least that a weight step asks of an optimizer."""

    weight_decay = DECAY

    def resources(self, path):
        return (path.trained.handle,)

    def update_path(self, resources, gradient, rate):
        tf.raw_ops.AssignSubVariableOp(resource=resources[0], value=rate * gradient)


def test_a_weight_step_takes_any_optimizer_of_paths(batch):
    net = _supernet()
    paths = net.active_paths(ACTIVE)
    *_, gradients = _gradients(net, *batch)
    expected = [path.trained.numpy() - 0.1 * g for path, g in zip(paths, gradients, strict=True)]
    weight_step(make_steps(net), _Descent(), *batch, ACTIVE, 0.1, SMOOTHING)
    for path, wanted in zip(paths, expected, strict=True):
        np.testing.assert_allclose(path.trained, wanted, atol=2e-4)


@pytest.mark.parametrize("kept", ["zero", "all"])
def test_a_block_of_which_zero_alone_is_left_has_nothing_to_move(kept):
    """As where a budget drops every other candidate; the rest moves as it does path after path."""
    offered = offered_candidates(TINY)
    choices = TINY.choices(32)
    block = next(b for b, choice in enumerate(choices) if ZERO in choice.operations)
    zero = choices[block].operations.index(ZERO)
    if kept == "zero":
        offered[block] = np.arange(offered.shape[1]) == zero
    active = [zero if b == block else 0 for b in range(len(choices))]
    rng = np.random.default_rng(1)
    images = tf.constant(rng.normal(size=(4, 32, 32, 3)), tf.float32)
    labels = tf.constant(rng.integers(0, CLASSES, 4))
    found = []
    for steps_of in (GraphSteps, EagerSteps):
        keras.utils.set_random_seed(5)
        net = Supernet(TINY, 32, CLASSES, offered=offered)
        weight_step(steps_of(net), WeightOptimizer(net), images, labels, active, 0.1)
        found.append([path.trained.numpy() for path in net.active_paths(active)])
    for graph, eager in zip(*found, strict=True):
        np.testing.assert_allclose(graph, eager, atol=1e-5)
