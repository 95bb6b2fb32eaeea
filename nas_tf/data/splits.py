"""Splits in the syntax of TensorFlow Datasets, such as `train[:99%]+test`, as ranges of images."""

from collections.abc import Iterable
from typing import Any

from nas_tf.base.errors import UserError

# What TFDS raises for split syntax that it does not take.
SPLIT_ERRORS = (ValueError, KeyError, AssertionError, NotImplementedError)

Range = tuple[str, int, int]  # (name of the unsliced split, start, stop)


def ranges(split: str, infos: Any, dataset: str) -> list[Range]:
    """What each term of a split reads.

    Args:
      split: TFDS syntax.
      infos: the dataset's `SplitDict`.
      dataset: for messages.

    Raises:
      UserError: no such split, or it cannot be understood.
    """
    import tensorflow_datasets as tfds

    try:
        terms = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
    except SPLIT_ERRORS as error:
        raise unknown_split(split, infos, dataset) from error
    bounds = (
        (term.splitname, term.from_ or 0, infos[term.splitname].num_examples if term.to is None else term.to)
        for term in terms
    )
    # A slice that ends before it starts is empty, not of negative size.
    return [(name, start, max(start, stop)) for name, start, stop in bounds]


def split_infos(sizes: dict[str, int]) -> Any:
    """A `SplitDict` of splits that TFDS did not make: name → number of images."""
    import tensorflow_datasets as tfds

    return tfds.core.splits.SplitDict([tfds.core.SplitInfo(name, [size], 0) for name, size in sizes.items()])


def shared(first: list[Range], second: list[Range]) -> list[Range]:
    """The ranges of images that two splits have in common."""
    common = (
        (name, max(start, other_start), min(stop, other_stop))
        for name, start, stop in first
        for other, other_start, other_stop in second
        if other == name
    )
    return sorted({(name, start, stop) for name, start, stop in common if start < stop})


def in_words(parts: list[Range]) -> str:
    """Ranges in TFDS syntax."""
    return "+".join(f"{name}[{start}:{stop}]" for name, start, stop in parts)


def unknown_split(split: str, names: Iterable[str], dataset: str) -> UserError:
    """The refusal of a split that does not exist or cannot be understood."""
    return UserError(
        f"Dataset {dataset!r} has no split {split!r}; it has {', '.join(sorted(names))}, "
        "to be sliced as in 'train[:90%]' or 'train[500:]'."
    )
