"""What a dataset holds, in words, before any work; and the refusal of splits that overlap."""

import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from nas_tf.base.errors import UserError
from nas_tf.data import splits

_SHOWN = 20  # classes

Numbers = Mapping[str, int]


def overview(
    name: str,
    labels: Sequence[str],
    totals: Numbers,
    counts: Mapping[str, Numbers] | None = None,
    left_out: Sequence[str] = (),
) -> str:
    """Classes, counts and what is left out.

    Args:
      name: the dataset.
      labels: one name per class.
      totals: split → images.
      counts: class → split → images, where they are known without reading.
      left_out: in words.
    """
    lines = [f"{name}: {len(labels):,} classes; images: {_in_words(totals)}"]
    if counts:
        lines += [f"  {label}: {_in_words(counts[label])}" for label in labels[:_SHOWN]]
        rest = [sum(counts[label].values()) for label in labels[_SHOWN:]]
        if rest:
            lines.append(f"  … {len(rest):,} more classes of {min(rest):,} to {max(rest):,} images")
    return "\n".join(lines + [f"  left out: {words}" for words in left_out])


@functools.cache
def say_once(text: str) -> None:
    """Prints to standard error what this process has not said yet: stages open the same data."""
    print(text, file=sys.stderr, flush=True)


def check_disjoint(source: Any, first: tuple[str, str], second: tuple[str, str]) -> None:
    """Refuses two splits that share images.

    Args:
      source: an `ImageSource`.
      first, second: (flag, split).

    Raises:
      UserError: which images they share.
    """
    common = source.shared(first[1], second[1])
    if common:
        number = sum(stop - start for _, start, stop in common)
        raise UserError(
            f"--{first[0]}={first[1]!r} and --{second[0]}={second[1]!r} share {number:,} images of "
            f"dataset {source.name!r} ({splits.in_words(common)}); give splits without common "
            "images, as in 'train[:80%]' and 'train[80%:]'."
        )


def note_shared(source: Any, train_split: str, split: str) -> None:
    """Says which images of a split are those of --train_split.

    Evaluating on training images is a fair question, but its answer is no accuracy.
    """
    if train_split not in source.split_names() and "[" not in train_split and "+" not in train_split:
        return  # the default of --train_split, for a dataset that has no such split
    common = source.shared(train_split, split)
    if common:
        say_once(
            f"note: {splits.in_words(common)} of the split {split!r} are also in "
            f"--train_split={train_split!r}; accuracy on images that a model learned from "
            "says nothing about new ones"
        )


def _in_words(numbers: Numbers) -> str:
    return ", ".join(f"{split} {number:,}" for split, number in numbers.items())
