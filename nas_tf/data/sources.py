"""Labelled images from wherever they lie, behind one interface."""

import abc
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nas_tf.base.errors import UserError, require
from nas_tf.data import order, splits
from nas_tf.data.config import Part, as_part
from nas_tf.data.overview import overview


class Encoded(NamedTuple):
    """An image's file.

    Attributes:
      content: its bytes.
      orientation: int32, EXIF's; 1 is upright.
    """

    content: tf.Tensor
    orientation: tf.Tensor


class ImageSource(abc.ABC):
    """Splits of images uint8 [H, W, 3] with labels int64.

    Attributes:
      name: for messages.
      labels: one name per class.
      image_size: short side in pixels that all images have, or None if they differ or if it is
        not known; see `nas_tf.data.config.default_resize_size`.
      named: whether the labels are names, and not numbers in place of names.
      cropped_to: side in pixels to which images are cropped already, as for evaluation; 0: they are not.
      encodes: whether images are stored as files, so that a part of one can be decoded.
    """

    named = True
    encodes = True
    cropped_to = 0

    def __init__(self, name: str, labels: Iterable[str], image_size: int | None):
        self.name, self.labels, self.image_size = name, tuple(labels), image_size

    @property
    def num_classes(self) -> int:
        """How many classes."""
        return len(self.labels)

    @abc.abstractmethod
    def split_names(self) -> tuple[str, ...]:
        """The splits that can be read and sliced."""

    @abc.abstractmethod
    def ranges(self, split: str) -> list[splits.Range]:
        """What a split given in TFDS syntax reads; `UserError` if there is no such split."""

    def split_size(self, split: str) -> int:
        """Images in a split given in TFDS syntax; `UserError` if there is no such split."""
        return sum(stop - start for _, start, stop in self.ranges(split))

    def shared(self, first: str, second: str) -> list[splits.Range]:
        """The images that two splits have in common."""
        return splits.shared(self.ranges(first), self.ranges(second))

    def overview(self) -> str:
        """Classes and numbers of images, in words."""
        return overview(self.name, self.labels, {name: self.split_size(name) for name in self.split_names()})

    @abc.abstractmethod
    def examples(self, part: str | Part, rows: order.Rows | None = None) -> tf.data.Dataset:
        """(image, label) once each, in the fixed order; with `rows`, others are left out, undecoded."""

    @abc.abstractmethod
    def labels_in_order(self, split: str) -> Iterable[int]:
        """Labels in the fixed order, without decoding the images."""

    def endless(
        self, part: str | Part, seed: int, start: int = 0, rows: order.Rows | None = None
    ) -> tf.data.Dataset:
        """(image, label) for ever, every image once per epoch, each epoch in its own order.

        The order is a function of `seed` alone; the first image is the one that comes
        after `start` others. With `rows`, others than these are left out, undecoded.
        """
        stored = self.endless_stored(part, seed, start, rows)
        return stored.map(lambda cell, label: (self.image(cell), label), num_parallel_calls=tf.data.AUTOTUNE)

    @abc.abstractmethod
    def endless_stored(
        self, part: str | Part, seed: int, start: int = 0, rows: order.Rows | None = None
    ) -> tf.data.Dataset:
        """As `endless`, with what is stored of an image in its place."""

    def image(self, stored: tf.Tensor) -> tf.Tensor:
        """The image uint8 [H, W, 3] of what is stored."""
        return self.decode(self.encoded(stored))

    def encoded(self, stored: tf.Tensor) -> Encoded:
        """The file of what is stored, where images are files."""
        raise NotImplementedError

    def decode(self, encoded: Encoded) -> tf.Tensor:
        """The image uint8 [H, W, 3] of its file, upright."""
        raise NotImplementedError

    def explain(self, error: Exception) -> UserError:
        """A reading error in words; sources that can say which file is broken do so."""
        return UserError(f"Dataset {self.name!r} cannot be read: {str(error).splitlines()[0]}")

    def part_size(self, part: str | Part) -> int:
        """Images in a part; `UserError` if there are none."""
        part = as_part(part)
        size = part.size(self.split_size(part.split))
        require(size > 0, f"The split {part.split!r} of dataset {self.name!r} holds no images.")
        return size

    def evaluation_split(self, asked: str = "") -> str:
        """`asked`, or by default `validation`, else `test`."""
        for name in (asked, "validation", "test"):
            if name and (name == asked or name in self.split_names()):
                return name
        raise UserError(
            f"Dataset {self.name!r} has neither a split 'validation' nor 'test'; cut one off "
            "with --train_split='train[:90%]' --eval_split='train[90%:]'."
        )


class IndexedSource(ImageSource):
    """A source whose images can be reached in any order, by columns of cells and labels."""

    @abc.abstractmethod
    def base_split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(cells, labels) of an unsliced split in the fixed order."""

    @abc.abstractmethod
    def base_sizes(self) -> dict[str, int]:
        """Name and size of every unsliced split."""

    def split_names(self) -> tuple[str, ...]:
        return tuple(self.base_sizes())

    def ranges(self, split: str) -> list[splits.Range]:
        return splits.ranges(split, splits.split_infos(self.base_sizes()), self.name)

    def columns(self, part: str | Part) -> tuple[np.ndarray, np.ndarray]:
        """(cells, labels) of a part in the fixed order."""
        part = as_part(part)
        pieces = []
        for name, start, stop in self.ranges(part.split):
            cells, labels = self.base_split(name)
            pieces.append((cells[start:stop], labels[start:stop]))
        # One piece stays a view: the images of a large split are not copied.
        cells, labels = pieces[0] if len(pieces) == 1 else map(np.concatenate, zip(*pieces, strict=True))
        if part.positions is not None:
            held = np.zeros(len(labels), bool)
            held[list(part.positions)] = True
            chosen = np.flatnonzero(held != part.complement)
            cells, labels = cells[chosen], labels[chosen]
        return cells, labels

    def labels_in_order(self, split: str) -> Iterable[int]:
        return self.columns(split)[1].tolist()

    def examples(self, part: str | Part, rows: order.Rows | None = None) -> tf.data.Dataset:
        read = self._reader(part)

        def example(index):
            cell, label = read(index)
            return self.image(cell), label

        places = order.only(tf.data.Dataset.range(self.part_size(part)), rows, 0)
        return places.map(example, num_parallel_calls=tf.data.AUTOTUNE)

    def endless_stored(
        self, part: str | Part, seed: int, start: int = 0, rows: order.Rows | None = None
    ) -> tf.data.Dataset:
        size, read = self.part_size(part), self._reader(part)
        places = order.only(order.counts(start), rows, start)
        return places.map(lambda count: read(order.shuffled_index(count, size, seed)))

    def _reader(self, part: str | Part):
        """From indices to cells and labels."""
        # Made outside of the function, which refers to them; inside, its graph would hold a copy. In the
        # host's memory, where images are read, and not on a GPU, where constants are made else.
        with tf.device("/device:CPU:0"):
            cells, labels = self.columns(part)
            cells, labels = tf.convert_to_tensor(cells), tf.cast(labels, tf.int64)
        return lambda index: (tf.gather(cells, index), tf.gather(labels, index))


class ArraySource(IndexedSource):
    """Images of one size, held in memory, so that whole batches are read at once. A cell is an image.

    Args:
      load: split name → (images uint8 [N, H, W, 3], labels [N]); called once for each split.
      sizes: name → number of images.
    """

    encodes = False

    def __init__(
        self,
        name: str,
        labels: Iterable[str],
        image_size: int,
        sizes: dict[str, int],
        load: Callable[[str], tuple[np.ndarray, np.ndarray]],
    ):
        super().__init__(name, labels, image_size)
        self._sizes, self._load, self._loaded = sizes, load, {}

    def image(self, stored: tf.Tensor) -> tf.Tensor:
        return stored

    def base_sizes(self) -> dict[str, int]:
        return self._sizes

    def base_split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        # Kept, because several parts read the same split: for weights, for alpha, for evaluation.
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def batches(self, part: str | Part, batch_size: int, rows: order.Rows | None = None) -> tf.data.Dataset:
        """As `examples`, in batches; the last one may be smaller."""
        size, read = self.part_size(part), self._reader(part)
        return order.only(tf.data.Dataset.range(size), rows, 0).batch(batch_size).map(read)

    def endless_batches(
        self, part: str | Part, batch_size: int, seed: int, start: int = 0
    ) -> tf.data.Dataset:
        """As `endless`, in batches."""
        size, read = self.part_size(part), self._reader(part)
        counts = order.counts(start).batch(batch_size, drop_remainder=True)
        return counts.map(lambda count: read(order.shuffled_index(count, size, seed)))
