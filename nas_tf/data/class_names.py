"""Which class of a model is which class of a dataset: decided by their names, in one place.

A model counts its classes in the order of the dataset that it was trained on; another dataset
of the same classes may count them otherwise.
"""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from nas_tf.base.errors import UserError, require

POLICIES = ("match", "ignore")
_SHOWN = 5
_WORDNET = re.compile(r"n\d{8}")


@dataclasses.dataclass(frozen=True)
class ClassList:
    """The classes of a model or of a dataset.

    Attributes:
      where: for messages, such as "model 'runs/a/train/model'".
      labels: one per class, without a background class; None: not known.
      named: whether the labels are names, and not numbers in place of names.
    """

    where: str
    labels: tuple[str, ...] | None
    named: bool = True

    @property
    def known(self) -> bool:
        """Whether it has names."""
        return self.labels is not None and self.named


@dataclasses.dataclass(frozen=True)
class Matching:
    """How a dataset's classes find a model's.

    Attributes:
      order: order[d] is the model's class (background not counted) for the dataset's class d.
      note: for people, what was done and why.
    """

    order: tuple[int, ...]
    note: str

    @property
    def moved(self) -> int:
        """Classes that have another place in the model than in the dataset."""
        return sum(i != place for i, place in enumerate(self.order))


def are_numbers(labels: Iterable[str]) -> bool:
    """Whether labels are nothing but 0, 1, 2 and so on."""
    return all(str(label) == str(index) for index, label in enumerate(labels))


def match(model: ClassList, dataset: ClassList, num_classes: int, policy: str = "match") -> Matching:
    """Finds for each class of the dataset the model's class of the same name.

    Case, underscores and surrounding blanks are not compared. Without names on one side the
    classes are taken by position, and the note says so.

    Args:
      model, dataset: with `num_classes` labels each, where these are known.
      num_classes: of both.
      policy: one of `POLICIES`; "ignore" takes the classes by position.

    Raises:
      UserError: both have names and these differ.
    """
    require(policy in POLICIES, f"--class_names={policy!r} is not one of {', '.join(POLICIES)}.")
    by_position = tuple(range(num_classes))
    if policy == "ignore":
        return Matching(by_position, "not compared (--class_names=ignore): taken by position")
    if model.labels is None or dataset.labels is None:
        return Matching(by_position, _unknown(model, dataset))
    given, wanted = _keys(model.labels), _keys(dataset.labels)
    if given == wanted:
        return Matching(by_position, "the model's and the dataset's are the same")
    # With two classes of one name on a side, a name would not say which is meant.
    place = {key: index for index, key in enumerate(given)}
    if len(place) == len(given) and sorted(given) == sorted(wanted):
        matching = Matching(tuple(place[key] for key in wanted), "")
        return dataclasses.replace(
            matching,
            note=(
                "the dataset has the model's classes in another order: "
                f"{matching.moved} of {num_classes} were matched by name"
            ),
        )
    if not (model.known and dataset.known):
        return Matching(by_position, _unknown(model, dataset))
    raise _differ(model, dataset)


def match_dataset(model: ClassList, source: Any, policy: str = "match") -> Matching:
    """`match` with the classes of an `ImageSource`, of which the model has as many."""
    dataset = ClassList(f"dataset {source.name!r}", source.labels, source.named)
    return match(model, dataset, source.num_classes, policy)


def _keys(labels: tuple[str, ...]) -> list[str]:
    return [" ".join(label.replace("_", " ").casefold().split()) for label in labels]


def _unknown(model: ClassList, dataset: ClassList) -> str:
    sides = [side for side in (model, dataset) if not side.known]
    who = " and the ".join(side.where for side in sides)
    return (
        f"not compared: the {who} {'do' if len(sides) > 1 else 'does'} not name the classes, "
        "so they were taken by position"
    )


def _differ(model: ClassList, dataset: ClassList) -> UserError:
    ours, theirs = model.labels or (), dataset.labels or ()  # both are known where they can differ
    given, wanted = _keys(ours), _keys(theirs)
    only_model = [label for label, key in zip(ours, given, strict=True) if key not in set(wanted)]
    only_data = [label for label, key in zip(theirs, wanted, strict=True) if key not in set(given)]
    if not only_model and not only_data:
        reason = "several of them share a name, so their order cannot be told"
    else:
        reason = f"only the model has {_some(only_model)}; only the dataset has {_some(only_data)}"
    ids = [all(_WORDNET.fullmatch(label) for label in labels) for labels in (ours, theirs)]
    if ids[0] != ids[1]:
        reason += " (WordNet ids on one side, words on the other)"
    return UserError(
        f"The classes of the {model.where} and of the {dataset.where} differ: {reason}; "
        "if both are in the same order all the same, give --class_names=ignore."
    )


def _some(labels: list[str]) -> str:
    shown = ", ".join(map(repr, labels[:_SHOWN])) or "none"
    return shown if len(labels) <= _SHOWN else f"{shown} and {len(labels) - _SHOWN} more"
