"""Steps on the supernet against a plain Keras network, finite differences, and bit equality."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from nas_tf.latency.candidate_costs import offered_candidates
from nas_tf.network.build import build_network
from nas_tf.search.weight_optimizer import WeightOptimizer
from nas_tf.space.search_space import FULL, TINY
from nas_tf.supernet import places
from nas_tf.supernet.steps import (
    EagerSteps,
    GraphSteps,
    gate_gradients,
    make_steps,
    weight_step,
)
from nas_tf.supernet.supernet import Supernet
from nas_tf.train import precision
from tests.search.helpers import MICRO

RESOLUTION, CLASSES = 16, 10
ACTIVE = [0, 1, 5, 2, 4]
WITH_ZEROS = [3, 6, 4, 6, 0]
OFFERED = offered_candidates(TINY)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(8, RESOLUTION, RESOLUTION, 3)), tf.float32)
    return images, tf.constant(rng.integers(0, CLASSES, 8))


@pytest.fixture(params=[GraphSteps, EagerSteps])
def steps(request):
    return request.param(_supernet())


@pytest.fixture
def supernet(steps):
    return steps.supernet


def _supernet() -> Supernet:
    keras.utils.set_random_seed(3)
    net = Supernet(TINY, RESOLUTION, CLASSES)
    rng = np.random.default_rng(2)
    for path in net.all_paths():  # scales, shifts and statistics away from 1 and 0
        is_vector = np.concatenate([np.full(w.size, len(w.shape) == 1) for w in path.kind.chain.weights])
        path.trained.assign_add(rng.uniform(0.05, 0.2, path.trained.shape) * is_vector)
        path.statistics.assign_add(rng.uniform(0.05, 0.2, path.statistics.shape))
    net.after.trained.assign(3.0 * net.after.trained)  # logits away from 0
    return net


def _values(net: Supernet, active):
    """(trained, statistics) of the active paths, each in the order of the plain network."""
    paths = net.active_paths(active)
    return (
        [v for path in paths for v in path.kind.chain.unpack(path.trained)],
        [v for path in paths for v in path.kind.chain.unpack_statistics(path.statistics)],
    )


def _compact(net: Supernet, active) -> keras.Model:
    """The plain Keras network with the supernet's values."""
    choices = TINY.choices(RESOLUTION)
    operations = tuple(c.specs[k].operation for c, k in zip(choices, active))
    model = build_network(TINY.architecture(operations), RESOLUTION, CLASSES)
    trained, statistics = _values(net, active)
    for target, source in zip(model.trainable_weights, trained, strict=True):
        target.assign(source)
    for target, source in zip(model.non_trainable_weights, statistics, strict=True):
        target.assign(source)
    return model


@pytest.mark.parametrize("active", [ACTIVE, WITH_ZEROS])
def test_steps_equal_those_of_the_plain_network(steps, supernet, batch, active):
    images, labels = batch
    model, optimizer = _compact(supernet, active), WeightOptimizer(supernet)
    sgd = keras.optimizers.SGD(0.1, 0.9, nesterov=True)
    sgd.build(model.trainable_weights)
    for _ in range(2):
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(
                keras.losses.categorical_crossentropy(
                    tf.one_hot(labels, CLASSES), logits, from_logits=True, label_smoothing=0.1
                )
            )
        gradients = [
            g + 4e-5 * v if v.shape.rank > 1 else g
            for g, v in zip(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
        ]
        sgd.apply_gradients(zip(gradients, model.trainable_weights))
        stepped, hits = weight_step(steps, optimizer, images, labels, active, 0.1)
        assert float(stepped) == pytest.approx(float(loss), abs=1e-5)
        assert hits == np.sum(np.argmax(logits, 1) == labels.numpy())
    trained, statistics = _values(supernet, active)
    for ours, theirs in zip(trained, model.trainable_weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for ours, theirs in zip(statistics, model.non_trainable_weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_a_call_equals_the_plain_network(supernet, batch, training):
    logits = _compact(supernet, ACTIVE)(batch[0], training=training)
    np.testing.assert_allclose(supernet(batch[0], ACTIVE, training=training), logits, atol=1e-4)


def test_a_weight_step_touches_the_sampled_path_and_nothing_else(steps, supernet, batch):
    optimizer = WeightOptimizer(supernet)
    weight_step(steps, optimizer, *batch, WITH_ZEROS, 0.1)  # slots are no longer all zero
    state = [*supernet.weights, *optimizer.variables]
    before = [v.numpy().copy() for v in state]
    weight_step(steps, optimizer, *batch, ACTIVE, 0.1)
    touched = {
        id(v)
        for path in supernet.active_paths(ACTIVE)
        for v in (path.trained, path.statistics, optimizer.slots[path.name])
    }
    for variable, old in zip(state, before, strict=True):
        changed = not np.array_equal(variable.numpy(), old)
        assert changed == (id(variable) in touched), variable.name


@pytest.mark.parametrize("k", [0, 5, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 5))])
def test_every_parameter_of_every_path_gets_a_gradient(steps, batch, k):
    net = steps.supernet
    optimizer = WeightOptimizer(net, weight_decay=0.0)
    weight_step(steps, optimizer, *batch, [k] * len(net.blocks), 0.1)
    for path in net.all_paths():
        active = path in net.active_paths([k] * len(net.blocks))
        for part in path.kind.chain.unpack(optimizer.slots[path.name]):
            assert bool(np.any(part)) == active, path.name


def _normalized(x, scale, shift):
    mean = tf.reduce_mean(x, [0, 1, 2])
    variance = tf.reduce_mean((x - mean) ** 2, [0, 1, 2])
    return (x - mean) / tf.sqrt(variance + 1e-3) * scale + shift


def _branch(x, path, stride: int):
    """F(x) written anew in float64, from the path's kernels."""
    parts = [tf.cast(v, tf.float64) for v in path.kind.chain.unpack(path.trained)]
    if len(parts) == 9:
        kernel, scale, shift = parts[:3]
        x = tf.nn.relu6(_normalized(tf.nn.conv2d(x, kernel, 1, "SAME"), scale, shift))
    kernel, scale, shift = parts[-6:-3]
    x = tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME")
    x = tf.nn.relu6(_normalized(x, scale, shift))
    kernel, scale, shift = parts[-3:]
    return _normalized(tf.nn.conv2d(x, kernel, 1, "SAME"), scale, shift)


def _loss_of_gates(net: Supernet, images, labels):
    """The loss as a function of any gate values, y = x + Σ_k g_k F_k(x), in float64."""

    @tf.function
    def loss(gates):
        kernel, scale, shift = (tf.cast(v, tf.float64) for v in net.stem.kind.chain.unpack(net.stem.trained))
        x = tf.nn.conv2d(tf.cast(images, tf.float64), kernel, 2, "SAME")
        x = tf.nn.relu6(_normalized(x, scale, shift))
        x += _branch(x, net.first, 1)
        for b, (block, choice) in enumerate(zip(net.blocks, TINY.choices(RESOLUTION))):
            branches = [
                gates[b, k] * _branch(x, path, choice.specs[0].stride)
                for k, path in enumerate(block.paths)
                if path is not None
            ]
            x = tf.add_n(branches) + (x if choice.specs[0].has_shortcut else 0.0)
        kernel, scale, shift, logits, bias = (
            tf.cast(v, tf.float64) for v in net.after.kind.chain.unpack(net.after.trained)
        )
        x = tf.nn.relu6(_normalized(tf.nn.conv2d(x, kernel, 1, "SAME"), scale, shift))
        x = tf.reduce_mean(x, [1, 2]) @ logits[0, 0] + bias
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(labels, tf.int64), x))

    return lambda gates: float(loss(tf.constant(gates, tf.float64)))


def _one_hot(active) -> np.ndarray:
    gates = np.zeros(OFFERED.shape)
    gates[np.arange(len(active)), active] = 1.0
    return gates


@pytest.mark.parametrize("active", [ACTIVE, WITH_ZEROS])
def test_gate_gradients_equal_finite_differences(steps, supernet, batch, active):
    loss, _, gradient = gate_gradients(steps, *batch, OFFERED, active)
    reference, binary = _loss_of_gates(supernet, *batch), _one_hot(active)
    assert loss == pytest.approx(reference(binary), rel=1e-5)
    numeric = np.zeros(OFFERED.shape)
    for b, k in np.argwhere(OFFERED):
        step = np.zeros(OFFERED.shape)
        step[b, k] = 1e-6
        numeric[b, k] = (reference(binary + step) - reference(binary - step)) / 2e-6
    assert np.abs(numeric).max() > 0.05
    np.testing.assert_allclose(gradient, numeric, atol=1e-4, rtol=1e-3)


def test_a_block_whose_path_is_zero_still_gets_gate_gradients(steps, batch):
    _, _, gradient = gate_gradients(steps, *batch, OFFERED, WITH_ZEROS)
    for b in (1, 3):
        assert (gradient[b, :6] != 0).all() and gradient[b, 6] == 0


def test_two_paths_give_the_same_gradients_as_all(steps, batch):
    involved = np.zeros(OFFERED.shape, bool)
    involved[np.arange(5), ACTIVE] = involved[:, 0] = involved[1, 3] = True
    full = gate_gradients(steps, *batch, OFFERED, ACTIVE)[2]
    two = gate_gradients(steps, *batch, involved, ACTIVE)[2]
    np.testing.assert_allclose(two, np.where(involved, full, 0.0), atol=1e-6)


def test_an_architecture_step_changes_no_weight(steps, supernet, batch):
    before = [w.numpy().copy() for w in supernet.weights]
    gate_gradients(steps, *batch, OFFERED, ACTIVE)
    for variable, old in zip(supernet.weights, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)


def test_training_descends(steps, supernet, batch):
    optimizer = WeightOptimizer(supernet)
    losses = [float(weight_step(steps, optimizer, *batch, ACTIVE, 0.05)[0]) for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]


def test_nothing_is_traced_again_for_another_network(batch):
    steps = GraphSteps(_supernet())
    functions = {
        id(f): f
        for path in steps.supernet.all_paths()
        for f in [path.kind.functions.train, path.kind.functions.gate]
    }
    optimizer = WeightOptimizer(steps.supernet)
    weight_step(steps, optimizer, *batch, ACTIVE, 0.1)
    gate_gradients(steps, *batch, OFFERED, ACTIVE)
    counts = [f.experimental_get_tracing_count() for f in functions.values()]
    weight_step(steps, optimizer, *batch, WITH_ZEROS, 0.1)
    gate_gradients(steps, *batch, OFFERED, WITH_ZEROS)
    assert counts == [f.experimental_get_tracing_count() for f in functions.values()]
    # Stem, first block, head, and the blocks of either stride.
    assert len(functions) == 2 * 5 and max(counts) == 1


def _ancestors(operation, known: dict) -> frozenset:
    """Names of all operations that must have run before."""
    if operation.name not in known:
        before = [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
        known[operation.name] = frozenset().union(*({op.name} | _ancestors(op, known) for op in before))
    return known[operation.name]


def test_no_more_inactive_paths_are_computed_at_once_than_allowed(batch):
    """Of any one more, one must wait for another: so wide is the order that the graph leaves."""
    steps = GraphSteps(_supernet())
    counts = tuple(int(n) - 1 for n in OFFERED.sum(axis=1))
    graph = steps._gate_graph(counts).get_concrete_function().graph
    packs = [op for op in graph.get_operations() if op.type == "Pack" and len(op.inputs) == sum(counts)]
    values = [tensor.op for tensor in packs[-1].inputs]
    assert len({op.name for op in values}) == sum(counts) == 27
    known: dict = {}
    before = {op.name: _ancestors(op, known) for op in values}
    ordered = {frozenset((a, b)) for a in before for b in before if a in before[b]}
    for group in itertools.combinations(before, places.AT_ONCE + 1):
        assert any(frozenset(pair) in ordered for pair in itertools.combinations(group, 2)), group


def test_equal_blocks_share_one_kind():
    make = Supernet(FULL.scaled(0.5), 64, 10)
    kinds = {id(path.kind) for block in make.blocks for path in block.paths if path}
    # Six candidates; stages of four blocks have two shapes, the last stage has one.
    assert len(kinds) == 6 * (5 * 2 + 1)


@pytest.mark.parametrize("settings", [{"mixed": True}, {"jit_compile": True}])
def test_other_ways_to_compute_agree(batch, settings):
    offered, active = offered_candidates(MICRO), [1, 2]
    reference = Supernet(MICRO, RESOLUTION, CLASSES)
    with precision.policy(settings.get("mixed", False)):
        net = Supernet(MICRO, RESOLUTION, CLASSES, settings.get("jit_compile", False))
    for ours, theirs in zip(net.weights, reference.weights, strict=True):
        assert ours.dtype == tf.float32
        ours.assign(theirs)
    tolerance, gate_tolerance = (0.02, 0.15) if "mixed" in settings else (1e-4, 1e-3)
    reference_steps, steps = make_steps(reference), make_steps(net)
    expected = gate_gradients(reference_steps, *batch, offered, active)
    found = gate_gradients(steps, *batch, offered, active)
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    np.testing.assert_allclose(found[2], expected[2], atol=gate_tolerance * np.abs(expected[2]).max())
    loss, _ = weight_step(steps, WeightOptimizer(net), *batch, active, 0.05)
    wanted, _ = weight_step(reference_steps, WeightOptimizer(reference), *batch, active, 0.05)
    assert float(loss) == pytest.approx(float(wanted), rel=tolerance)
