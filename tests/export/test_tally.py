"""Counting answers: intervals, confusion, and the paired test, against figures known from elsewhere."""

import numpy as np
import pytest

from export.tally import Tally, paired_difference, wilson
from quant.comparison import mcnemar_p_value


@pytest.mark.parametrize(
    "hits,count,low,high",
    [
        # Newcombe (Statistics in Medicine 17, 1998), Table I, method 3: Wilson's score interval.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 1 - 0.1170, 1.0),  # n / (n + z²)
    ],
)
def test_wilsons_interval(hits, count, low, high):
    assert wilson(hits, count) == pytest.approx((low, high), abs=5e-5)


def test_an_interval_of_nothing_is_everything_and_holds_its_own_share():
    assert wilson(0, 0) == (0.0, 1.0)
    for count in range(1, 200):
        for hits in (0, count // 2, count):
            low, high = wilson(hits, count)
            assert 0 <= low <= hits / count <= high <= 1


def rights(both, only_first, only_second, neither):
    first = np.repeat([True, True, False, False], (both, only_first, only_second, neither))
    second = np.repeat([True, False, True, False], (both, only_first, only_second, neither))
    return first, second


@pytest.mark.parametrize(
    "only_first,only_second,p",
    [
        # By hand: min(1, 2 · Σ_{i ≤ min} C(n, i) / 2^n).
        (0, 0, 1.0),
        (5, 0, 2 / 32),
        (1, 9, 2 * (1 + 10) / 1024),
        (3, 3, 1.0),
        (6, 16, 2 * sum([1, 22, 231, 1540, 7315, 26334, 74613]) / 2**22),
    ],
)
def test_mcnemars_exact_test(only_first, only_second, p):
    first, second = rights(50, only_first, only_second, 10)
    assert mcnemar_p_value(first, second) == pytest.approx(p, rel=1e-12)
    found = paired_difference(first, second)
    assert found["p_value"] == pytest.approx(p)
    assert (found["only_first_right"], found["only_second_right"]) == (only_first, only_second)
    assert found["difference"] == pytest.approx((only_first - only_second) / len(first))
    swapped = paired_difference(second, first)
    assert swapped["p_value"] == pytest.approx(p) and swapped["difference"] == -found["difference"]
    low, high = found["difference_interval"]
    assert swapped["difference_interval"] == pytest.approx([-high, -low])


def test_the_interval_of_a_difference_holds_it_as_often_as_it_says():
    """Drawn: 300 images, 12 % right by the first alone, 7 % by the second alone."""
    random = np.random.default_rng(0)
    held = []
    for counts in random.multinomial(300, [0.6, 0.12, 0.07, 0.21], size=2000):
        low, high = paired_difference(*rights(*counts))["difference_interval"]
        held.append(low <= 0.05 <= high)
    assert 0.935 <= np.mean(held) <= 0.97


def test_counts_by_hand():
    """Three classes, the model's outputs in another order behind a background."""
    tally = Tally(np.array([3, 1, 2]), 4)
    best = [3, 3, 1, 0, 2, 1]  # classes a, a, b, background, c, b
    scores = np.full((6, 4), 10, np.uint8)
    scores[np.arange(6), best] = 200
    labels = np.array([0, 1, 1, 2, 2, 0])
    tally.add(scores[:4], labels[:4])
    tally.add(scores[4:], labels[4:])
    assert tally.answers.tolist() == [0, 0, 1, -1, 2, 1]
    facts = tally.facts(("a", "b", "c"))
    assert facts["top1"] == 0.5 and facts["num_examples"] == 6 and facts["background_predictions"] == 1
    assert facts["top1_interval"] == list(wilson(3, 6)) and facts["confidence"] == 0.95
    assert [(r["label"], r["examples"], r["top1"]) for r in facts["per_class"]] == [
        ("a", 2, 0.5),
        ("b", 2, 0.5),
        ("c", 2, 0.5),
    ]
    assert facts["confusion"] == {
        "labels": ["a", "b", "c"],
        "answers": ["a", "b", "c", "background"],
        "images": [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]],
    }
    assert {(r["label"], r["answer"], r["images"]) for r in facts["most_confused"]} == {
        ("a", "b", 1),
        ("b", "a", 1),
        ("c", "background", 1),
    }


def test_many_classes_have_no_matrix_and_those_without_images_no_row():
    tally = Tally(np.arange(60), 60)
    tally.add(np.eye(60, dtype=np.float32)[[5, 5, 7]], np.array([5, 6, 6]))
    facts = tally.facts([str(i) for i in range(60)])
    assert facts["confusion"] is None and [row["label"] for row in facts["per_class"]] == ["5", "6"]
    assert len(facts["most_confused"]) == 2
    assert sum(row["images"] for row in facts["most_confused"]) == 2


def test_nothing_confused_is_an_empty_list():
    tally = Tally(np.arange(2), 2)
    tally.add(np.eye(2), np.array([0, 1]))
    facts = tally.facts(("a", "b"))
    assert facts["most_confused"] == [] and facts["confusion"]["answers"] == ["a", "b"]
    assert (facts["top1"], facts["top5"]) == (1.0, 1.0)
