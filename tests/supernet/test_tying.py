"""Tied candidates: one network while tied, the same function with weights of their own when freed."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from nas_tf.latency.candidate_costs import offered_candidates
from nas_tf.search.weight_optimizer import WeightOptimizer
from nas_tf.space.search_space import SPACES
from nas_tf.supernet import tying
from nas_tf.supernet.steps import make_steps, weight_step
from nas_tf.supernet.supernet import Supernet
from nas_tf.supernet.widening import beginnings


def _supernet(space: str, resolution: int, width: float = 1.0) -> Supernet:
    """With the smallest candidates' weights as if after training."""
    keras.utils.set_random_seed(5)
    net = Supernet(SPACES[space].scaled(width), resolution, 10)
    rng = np.random.default_rng(6)
    for path in net.all_paths():
        path.trained.assign_add(rng.normal(0.0, 0.1, path.trained.shape))
        path.statistics.assign_add(rng.uniform(0.05, 0.2, path.statistics.shape))
    return net


def _samples(net: Supernet, space: str, count: int):
    rng, offered = np.random.default_rng(7), offered_candidates(SPACES[space])
    return [np.array([rng.choice(row.nonzero()[0]) for row in offered]) for _ in range(count)]


def _images(net: Supernet, count: int = 4) -> tf.Tensor:
    size = net.resolution
    return tf.constant(np.random.default_rng(8).normal(size=(count, size, size, 3)), tf.float32)


def smallest(choice) -> int:
    return min(beginnings(choice), key=lambda k: choice.specs[k].params)


def _inputs_of_blocks(net: Supernet, training: bool) -> list[tf.Tensor]:
    """What each block gets in the tied network."""
    x = net.stem(_images(net), training=training)
    inputs = [net.first.join(x, net.first(x, training=training))]
    for block in net.blocks:
        inputs.append(block(inputs[-1], smallest(block.choice), training=training))
    return inputs[:-1]


# Odd, even and single-pixel images in strided blocks, where SAME pads kernels differently.
# Block by block: where few pixels are left, batch norm by the batch magnifies the rounding of one
# block in all that follow.
@pytest.mark.parametrize(
    "space, resolution, width",
    [("tiny", 32, 1.0), ("tiny", 30, 1.0), ("small", 20, 1.0), ("full", 32, 0.5), ("full", 56, 0.35)],
)
@pytest.mark.parametrize("training", [True, False])
def test_freed_candidates_compute_what_the_smallest_does(space, resolution, width, training):
    net = _supernet(space, resolution, width)
    inputs = _inputs_of_blocks(net, training)
    expected = [
        block.paths[smallest(block.choice)](x, training=training) for block, x in zip(net.blocks, inputs)
    ]
    tying.untie(net, np.random.default_rng(0))
    for block, x, y in zip(net.blocks, inputs, expected, strict=True):
        scale = float(tf.math.reduce_std(y))
        for path in block.paths:
            if path is not None:
                np.testing.assert_allclose(
                    path(x, training=training), y, atol=1e-4 * scale, err_msg=path.name
                )


def test_a_freed_network_gives_the_logits_of_the_tied_one():
    net = _supernet("small", 64)
    images, samples = _images(net, 16), _samples(net, "small", 3)
    expected = [net(images, tying.tied(net, active)) for active in samples]
    untied_before = net(images, samples[0])
    tying.untie(net, np.random.default_rng(0))
    for active, logits in zip(samples, expected):
        np.testing.assert_allclose(net(images, active), logits, atol=1e-4 * float(tf.math.reduce_std(logits)))
    assert not np.allclose(untied_before, expected[0], atol=0.1)


def test_tied_candidates_are_the_smallest_or_zero():
    net = _supernet("tiny", 16)
    zero = [len(block.paths) - 1 if None in block.paths else 5 for block in net.blocks]
    for block, k in zip(net.blocks, tying.tied(net, [5] * len(net.blocks))):
        sizes = [path.trained.shape[0] for path in block.paths if path is not None]
        assert block.paths[k].trained.shape[0] == min(sizes)
    for block, k, asked in zip(net.blocks, tying.tied(net, zero), zero):
        assert (block.paths[k] is None) == (block.paths[asked] is None)


def test_untying_leaves_the_smallest_and_the_fixed_layers_as_they_are():
    net = _supernet("tiny", 16)
    kept = [
        net.stem,
        net.first,
        net.after,
        *(block.paths[smallest(block.choice)] for block in net.blocks),
    ]
    before = [path.trained.numpy() for path in kept]
    tying.untie(net, np.random.default_rng(0))
    for path, value in zip(kept, before):
        np.testing.assert_array_equal(path.trained, value)


def test_copies_of_a_channel_part_in_the_first_step():
    net = _supernet("tiny", 16)
    tying.untie(net, np.random.default_rng(0))
    widest = np.array(
        [
            max(
                (k for k, path in enumerate(block.paths) if path is not None),
                key=lambda k: block.paths[k].trained.shape[0],
            )
            for block in net.blocks
        ]
    )
    path = net.blocks[0].paths[widest[0]]

    def halves():
        expand = path.kind.chain.unpack(path.trained)[0].numpy()
        return np.split(expand, 2, axis=-1)

    np.testing.assert_array_equal(*halves())
    weight_step(make_steps(net), WeightOptimizer(net), _images(net), tf.constant([0, 1, 2, 3]), widest, 0.1)
    first, second = halves()
    # In every channel, by more than float rounding.
    assert np.abs(first - second).max(axis=(0, 1, 2)).min() > 1e-5


@pytest.mark.parametrize("inputs", [6, 9, 12, 18, 20])
def test_shares_add_up_to_the_weight(inputs):
    weight = np.random.default_rng(0).normal(size=(1, 1, 6, 4)).astype(np.float32)
    shares = tying._shared_out(weight, inputs, np.random.default_rng(1))
    assert shares.shape == (1, 1, inputs, 4)
    total = sum(shares[:, :, [i], :] * (np.arange(6) == i % 6)[:, None] for i in range(inputs))
    np.testing.assert_allclose(total, weight, atol=1e-6)
    # A channel without a copy keeps its weight as it is.
    for channel in range(max(0, inputs - 6), 6):
        np.testing.assert_allclose(shares[:, :, channel], weight[:, :, channel], rtol=1e-6)


@pytest.mark.parametrize("space", [pytest.param("universal", marks=pytest.mark.slow), "small_universal"])
@pytest.mark.parametrize("training", [True, False])
def test_with_several_forms_each_candidate_computes_what_it_began_as(space, training):
    net = _supernet(space, 32, 0.35)
    inputs = _inputs_of_blocks(net, training)
    begun = [beginnings(block.choice) for block in net.blocks]
    expected = [
        {k: block.paths[source](x, training=training) for k, source in begin.items()}
        for block, begin, x in zip(net.blocks, begun, inputs, strict=True)
    ]
    tying.untie(net, np.random.default_rng(0))
    for block, x, outputs in zip(net.blocks, inputs, expected, strict=True):
        for k, y in outputs.items():
            path, scale = block.paths[k], float(tf.math.reduce_std(y))
            np.testing.assert_allclose(path(x, training=training), y, atol=1e-4 * scale, err_msg=path.name)


def test_the_universal_space_begins_with_one_candidate_for_each_form():
    early, strided, late = (SPACES["universal"].choices(224)[index] for index in (0, 3, 4))

    def names(choice):
        return sorted({choice.operations[k].name for k in beginnings(choice).values()})

    assert names(early) == ["C2_3", "F2_3", "U3_03", "U4_33"]
    # With a stride, the start alone has it: the same layers as those of two, but another stride.
    assert names(strided) == ["U2_03", "U2_30", "U3_33"]
    assert names(late) == ["U2_00", "U2_03", "U2_30", "U3_33"]
