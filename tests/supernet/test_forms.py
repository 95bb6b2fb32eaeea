"""Candidates of different forms in one block: one graph for all of them against path after path."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from nas_tf.latency.candidate_costs import offered_candidates
from nas_tf.network.build import build_network
from nas_tf.search.weight_optimizer import WeightOptimizer
from nas_tf.space.candidates import parse_operation
from nas_tf.space.search_space import Stage
from nas_tf.supernet.gate_values import moments_of
from nas_tf.supernet.steps import EagerSteps, GraphSteps, gate_gradients, weight_step
from nas_tf.supernet.supernet import Supernet
from nas_tf.supernet.widening import beginnings
from tests.search.helpers import MICRO

CLASSES = 10


def _space(*names: str, width: int = 16):
    return dataclasses.replace(
        MICRO, stages=(Stage(width, 3, 1),), candidates=tuple(map(parse_operation, names))
    )


# Two forms with a 1×1 convolution first, one without; ZeroOp in the middle of the list.
MIXED = _space("3_3", "F2_3", "Z", "6_5", "F3_1", "F2_5")


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(8, 16, 16, 3)), tf.float32)
    return images, tf.constant(rng.integers(0, CLASSES, 8))


# Four forms of universal bottlenecks beside a fused one, ReLU without a limit, features behind the pooling.
UNIVERSAL = dataclasses.replace(
    _space("U2_03", "F2_3", "U3_50", "Z", "U2_35", "U2_00"),
    first=parse_operation("C1_3"),
    stem_width=16,
    first_width=8,
    features_width=32,
    activation="relu",
)
SPACES = pytest.mark.parametrize("space", [MIXED, UNIVERSAL], ids=["mixed", "universal"])


def _supernet(space=MIXED) -> Supernet:
    keras.utils.set_random_seed(3)
    net = Supernet(space, 16, CLASSES)
    net.after.trained.assign(3.0 * net.after.trained)  # logits away from 0
    return net


def _involved(space, two: bool, active) -> np.ndarray:
    offered = offered_candidates(space)
    if not two:
        return offered
    involved = np.zeros_like(offered)
    for b, (index, other) in enumerate(zip(active, (3, 0, 2), strict=True)):
        involved[b, [index, other]] = True
    return involved


@SPACES
@pytest.mark.parametrize("two", [False, True])
# The first block has no ZeroOp, so its candidates are numbered otherwise.
@pytest.mark.parametrize(
    "active",
    [
        (0, 1, 4),
        pytest.param((1, 2, 0), marks=pytest.mark.slow),
        pytest.param((4, 5, 3), marks=pytest.mark.slow),
        (2, 4, 5),
    ],
)
def test_gate_gradients_of_the_graph_are_those_of_path_after_path(batch, active, two, space):
    net = _supernet(space)
    involved = _involved(space, two, active)
    graph, eager = (gate_gradients(kind(net), *batch, involved, active) for kind in (GraphSteps, EagerSteps))
    assert graph[0] == pytest.approx(eager[0], rel=1e-5) and graph[1] == eager[1]
    assert np.abs(eager[2]).max() > 0.01
    np.testing.assert_allclose(graph[2], eager[2], atol=1e-5, rtol=1e-4)


@SPACES
@pytest.mark.parametrize("active", [(0, 1, 4), (1, 2, 0), pytest.param((4, 5, 3), marks=pytest.mark.slow)])
def test_weight_steps_of_the_graph_are_those_of_path_after_path(batch, active, space):
    nets = []
    for kind in (GraphSteps, EagerSteps):
        net = _supernet(space)
        before = [path.trained.numpy() for path in net.all_paths()]
        steps, optimizer = kind(net), WeightOptimizer(net)
        losses = [float(weight_step(steps, optimizer, *batch, active, 0.1)[0]) for _ in range(2)]
        moved = {
            p.name for p, old in zip(net.all_paths(), before, strict=True) if (p.trained.numpy() != old).any()
        }
        assert moved == {path.name for path in net.active_paths(active)}
        nets.append((net, losses))
    (graph, graph_losses), (eager, eager_losses) = nets
    assert graph_losses == pytest.approx(eager_losses, rel=1e-4)
    for ours, theirs in zip(graph.all_paths(), eager.all_paths(), strict=True):
        np.testing.assert_allclose(ours.trained, theirs.trained, atol=1e-5)
        np.testing.assert_allclose(ours.statistics, theirs.statistics, atol=1e-5)


def test_a_form_has_one_graph_and_1x1_convolutions_are_a_form_of_their_own():
    operations, paths = MIXED.choices(16)[1].operations, _supernet().blocks[1].paths
    functions = {
        operation.name: path.kind.functions
        for operation, path in zip(operations, paths, strict=True)
        if path is not None
    }
    assert functions["3_3"] is functions["6_5"] and functions["F2_3"] is functions["F2_5"]
    assert len(set(map(id, functions.values()))) == 3  # F3_1 is the third


@pytest.mark.parametrize(
    "names,begins",
    [
        (("3_3", "6_7", "Z"), ("3_3", "3_3")),
        (("F2_3", "F4_5"), ("F2_3", "F2_3")),
        (("3_3", "F3_3"), ("3_3", "F3_3")),
        (("6_3", "4_3"), ("4_3", "4_3")),
        (("3_3", "1_3"), ("3_3", "1_3")),
        (("3_5", "6_3"), ("3_5", "6_3")),
        (("3_5", "6_3", "3_3"), ("3_3", "3_3", "3_3")),
    ],
)
def test_a_candidate_begins_as_the_smallest_that_fits_into_it(names, begins):
    choice = _space(*names).choices(16)[0]
    found = beginnings(choice)
    assert [choice.operations[found[k]].name for k in sorted(found)] == list(begins)


STRIDED = dataclasses.replace(UNIVERSAL, stages=(Stage(16, 3, 2),))


@pytest.mark.parametrize("space", [UNIVERSAL, STRIDED], ids=["stride 1", "stride 2"])
@pytest.mark.parametrize(
    "active",
    [
        (0, 4, 5),
        pytest.param((2, 2, 0), marks=pytest.mark.slow),
        (3, 0, 2),
        pytest.param((1, 5, 4), marks=pytest.mark.slow),
    ],
)
def test_a_sampled_network_computes_what_the_compact_one_does(batch, space, active):
    """Each path's weights into the Keras network: same logits, so same layers in the same order."""
    net = _supernet(space)
    choices = zip(space.choices(16), active, strict=True)
    architecture = space.architecture(tuple(choice.operations[k] for choice, k in choices))
    compact = build_network(architecture, 16, CLASSES)
    paths = net.active_paths(active)
    weights = [w for path in paths for w in path.kind.chain.unpack(path.trained)]
    for variable, value in zip(compact.trainable_weights, weights, strict=True):
        variable.assign(value)
    # By moving averages first, which begin as 0 and 1 in both.
    np.testing.assert_allclose(net(batch[0], active), compact(batch[0], training=False), rtol=1e-4, atol=1e-4)
    found = net(batch[0], active, training=True)
    np.testing.assert_allclose(found, compact(batch[0], training=True), atol=1e-4)
    assert architecture.activation == "relu" and np.abs(found).max() > 0.5


@pytest.mark.parametrize("space", [UNIVERSAL, STRIDED], ids=["stride 1", "stride 2"])
def test_a_gate_is_worth_the_product_of_output_and_gradient(space):
    net, rng = _supernet(space), np.random.default_rng(1)
    for block in net.blocks:
        size, channels = 8, block.choice.specs[0].input_width
        x = tf.constant(rng.normal(1.0, 2.0, (4, size, size, channels)), tf.float32)
        for path in filter(None, block.paths):
            y = path.frozen(x)
            gradient = tf.constant(rng.normal(size=y.shape), tf.float32)
            found = path.gate_gradient(x, gradient, moments_of(x))
            assert float(found) == pytest.approx(float(tf.reduce_sum(y * gradient)), rel=1e-3, abs=1e-3)


def test_bottlenecks_with_and_without_depthwise_places_have_one_form():
    """Else a block's graph would hold each combination of them."""
    names = [operation.name for operation in UNIVERSAL.choices(16)[1].operations]
    for space, apart in ((UNIVERSAL, set()), (STRIDED, {"U3_50"})):
        blocks = _supernet(space).blocks
        block = blocks[1] if space is UNIVERSAL else blocks[0]
        operations = [o.name for o in block.choice.operations]
        functions = {
            n: p.kind.functions for n, p in zip(operations, block.paths, strict=True) if p is not None
        }
        together = {n for n in functions if n.startswith("U")} - apart
        assert len({id(functions[n]) for n in together}) == 1
        assert all(functions[n] is not functions["U2_03"] for n in {"F2_3"} | apart)
    assert {"U2_03", "U3_50", "U2_35", "U2_00"} <= set(names)
