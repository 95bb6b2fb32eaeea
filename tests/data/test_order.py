"""Orders are permutations, and any place of them is computed directly."""

import numpy as np
import pytest
import tensorflow as tf

from nas_tf.data import order


def places(start, stop, size, seed):
    return order.shuffled_index(tf.range(start, stop, dtype=tf.int64), size, seed).numpy()


@pytest.mark.parametrize("size", [1, 2, 7, 1437])
def test_every_epoch_is_a_permutation(size):
    for epoch in range(3):
        found = places(epoch * size, (epoch + 1) * size, size, seed=5)
        assert sorted(found) == list(range(size))


def test_epochs_and_seeds_have_their_own_order():
    assert (places(0, 100, 100, 5) != places(100, 200, 100, 5)).any()
    assert (places(0, 100, 100, 5) != places(0, 100, 100, 6)).any()


def test_a_place_is_the_same_alone_and_in_a_row():
    row = places(0, 50, 20, seed=3)
    alone = [int(order.shuffled_index(tf.constant(i, tf.int64), 20, 3)) for i in range(50)]
    assert row.tolist() == alone


@pytest.mark.parametrize("place", [0, 1, 9])
@pytest.mark.parametrize("seed", [0, 1])
def test_items_land_anywhere(place, seed):
    """One place of 500 epochs of 10 items: a chi-square test on uniformity."""
    counts = tf.range(500, dtype=tf.int64) * 10 + place
    found = np.bincount(order.shuffled_index(counts, 10, seed).numpy(), minlength=10)
    # 99.99 % quantile of chi-square with 9 degrees of freedom
    assert np.sum((found - 50) ** 2 / 50) < 33.7


def test_neighbours_are_parted():
    """The step from one item to the next is as likely up as down, and seldom short."""
    steps = np.diff(places(0, 1000, 1000, seed=0))
    # |step| = 1 has probability 2/n, so about 2 of 999; 12 or more: below one in a million.
    assert np.sum(np.abs(steps) == 1) < 12
    # Sign counts are about normal with deviation √(n/12) = 9.1.
    assert abs(np.sum(steps > 0) - 499.5) < 45


def test_the_fixed_permutation_never_changes():
    first, second = order.fixed_permutation(50), order.fixed_permutation(50)
    assert first.tolist() == second.tolist()
    assert sorted(first) == list(range(50)) and first.tolist() != list(range(50))
