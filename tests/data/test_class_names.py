"""Which class of a model is which of a dataset."""

import pytest

from nas_tf.base.errors import UserError
from nas_tf.data.class_names import ClassList, are_numbers, match

WORDS = ("eight", "five", "four", "nine", "one", "seven", "six", "three", "two", "zero")
DIGITS = tuple("0123456789")


def matched(model, dataset, policy="match", named=(True, True)):
    sides = [
        ClassList(where, labels, known)
        for where, labels, known in zip(("model 'm'", "dataset 'd'"), (model, dataset), named)
    ]
    return match(*sides, len(model or dataset), policy)


def test_the_same_names_stay_in_place():
    matching = matched(("cat", "dog"), ("Cat ", "dog"))
    assert matching.order == (0, 1) and matching.moved == 0 and "the same" in matching.note


def test_another_order_is_matched_by_name():
    matching = matched(("zero", "one", "two", "three"), ("one", "three", "two", "zero"))
    assert matching.order == (1, 3, 2, 0)
    assert "another order: 3 of 4 were matched by name" in matching.note


def test_folders_named_by_numbers_find_numbered_classes():
    """Folders are sorted as text: 10 comes before 2."""
    numbers = tuple(map(str, range(11)))
    matching = matched(numbers, tuple(sorted(numbers)), named=(False, True))
    assert matching.order == (0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9)


def test_other_names_are_refused_by_name():
    with pytest.raises(UserError) as refused:
        matched(DIGITS, WORDS)
    assert str(refused.value) == (
        "The classes of the model 'm' and of the dataset 'd' differ: only the model has '0', '1', "
        "'2', '3', '4' and 5 more; only the dataset has 'eight', 'five', 'four', 'nine', 'one' and 5 "
        "more; if both are in the same order all the same, give --class_names=ignore."
    )
    with pytest.raises(UserError, match="only the model has 'cow'; only the dataset has 'cat'"):
        matched(("cow", "dog"), ("cat", "dog"))


def test_ignoring_names_says_so():
    matching = matched(DIGITS, WORDS, "ignore")
    assert matching.order == tuple(range(10)) and "--class_names=ignore" in matching.note
    with pytest.raises(UserError, match="--class_names='guess' is not one of match, ignore"):
        matched(DIGITS, WORDS, "guess")


@pytest.mark.parametrize(
    "model, dataset, named, who",
    [
        (None, ("cat", "dog"), (True, True), "the model 'm' does not name"),
        (("0", "1"), ("n01440764", "n01443537"), (False, True), "the model 'm' does not name"),
        (("cat", "dog"), ("0", "1"), (True, False), "the dataset 'd' does not name"),
        (None, ("0", "1"), (True, False), "the model 'm' and the dataset 'd' do not name"),
    ],
)
def test_where_names_are_missing_the_note_says_so(model, dataset, named, who):
    matching = matched(model, dataset, named=named)
    assert matching.order == (0, 1) and who in matching.note and "by position" in matching.note


def test_wordnet_ids_and_words():
    with pytest.raises(UserError, match="WordNet ids on one side, words on the other"):
        matched(("tench", "goldfish"), ("n01440764", "n01443537"))


def test_names_that_are_not_unique():
    cranes = ("crane", "crane", "dog")
    assert matched(cranes, cranes).order == (0, 1, 2)
    with pytest.raises(UserError, match="several of them share a name"):
        matched(cranes, ("dog", "crane", "crane"))


def test_numbers():
    assert are_numbers(("0", "1", "2")) and not are_numbers(("1", "2")) and not are_numbers(("a",))
