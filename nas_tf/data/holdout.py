"""A class-stratified part of the training set for the architecture parameters."""

import collections

from nas_tf.base.errors import require
from nas_tf.data.config import Part
from nas_tf.data.sources import ImageSource


def hold_out(source: ImageSource, split: str, num_images: int) -> tuple[Part, Part]:
    """Divides a split into images for the weights and images for the architecture.

    Every class gives the same number (give or take one), namely its first ones in the split's
    fixed order, which is random. So only as much is read as holds them. Of fewer images than classes,
    classes give one or none; if some of these have no image in the split, those that have are taken.

    Args:
      source: where the images are.
      split: training split, TFDS syntax.
      num_images: how many to hold out.

    Returns:
      (part for weight steps, part for architecture steps), disjoint, together the split.

    Raises:
      UserError: too few images in all, or in some class.
    """
    total = source.part_size(split)
    require(
        0 < num_images < total,
        f"Cannot hold out {num_images} of the {total} images of {split!r}; "
        "allowed: at least 1, and fewer than all; a number below 1 is a share.",
    )
    quota = _quotas(num_images, source.num_classes)
    positions, short = _first_ones(source, split, quota)
    if short and num_images < source.num_classes:
        present = _quotas_of_present(source, split, num_images)
        positions, short = _first_ones(source, split, present) if present else (positions, short)
    names = ", ".join(source.labels[index] for index in short[:3])
    require(
        not short,
        f"The split {split!r} has too few images of {names} to hold out {num_images} in equal shares; hold "
        "out fewer.",
    )
    held = tuple(positions)
    return Part(split, held, complement=True), Part(split, held)


def _first_ones(source: ImageSource, split: str, quota: list[int]) -> tuple[list[int], list[int]]:
    """(positions of the first images of each class, as many as it has to give; classes with too few)."""
    taken: collections.Counter[int] = collections.Counter()
    positions, wanted = [], sum(quota)
    for position, label in enumerate(source.labels_in_order(split)):
        if taken[int(label)] < quota[int(label)]:
            taken[int(label)] += 1
            positions.append(position)
            if len(positions) == wanted:
                break
    return positions, [index for index, number in enumerate(quota) if taken[index] < number]


def _quotas_of_present(source: ImageSource, split: str, num_images: int) -> list[int]:
    """One of each of so many classes that have images, spread over them; nothing if they are fewer."""
    present = sorted({int(label) for label in source.labels_in_order(split)})
    if len(present) < num_images:
        return []
    quota = [0] * source.num_classes
    for index, number in zip(present, _quotas(num_images, len(present)), strict=True):
        quota[index] = number
    return quota


def _quotas(num_images: int, num_classes: int) -> list[int]:
    base, extra = divmod(num_images, num_classes)
    # Spread, so that the classes with one more are not all at the beginning.
    return [base + ((i + 1) * extra // num_classes - i * extra // num_classes) for i in range(num_classes)]
