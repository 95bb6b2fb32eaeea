"""A folder of class folders: `root/split/class/*.jpg`, or `root/class/*.jpg` as `train`."""

import collections
import os
import pathlib
import time

import numpy as np
import tensorflow as tf

from nas_tf.base.errors import UserError, require
from nas_tf.data.decode import decode_photo
from nas_tf.data.folder_scan import SUFFIXES, Listing, listed, scan
from nas_tf.data.image_files import ImageFile, decoding_faults, look_at
from nas_tf.data.order import fixed_permutation
from nas_tf.data.overview import overview
from nas_tf.data.sources import Encoded, IndexedSource

# Decoding finds every broken file, but of a large folder it takes minutes to hours. Up to so many
# pixels (some 3,700 photographs of 320×240 were decoded in 3 seconds on two cores, less than
# TensorFlow takes to start) all files are decoded before work. Of larger folders, only headers and
# ends are looked at (0.1 ms per file), which shows what is no image, and what was cut short by a
# copy or a download that broke off; what remains is named when it is read.
DECODED_PIXELS = 300_000_000

_EXPLAIN_SECONDS = 60.0  # spent on finding more broken files once one was met in training

Row = tuple[str, str, pathlib.Path]
Fault = tuple[pathlib.Path, str]  # a file, and what is wrong with it


class FolderSource(IndexedSource):
    """Images read from their files as they are needed. A cell is (path, EXIF orientation).

    Args:
      splits: name → (cells: bytes [N, 2], labels [N]).
      left_out: what of the folder is not read, in words.
    """

    def __init__(
        self,
        name: str,
        labels: list[str],
        image_size: int | None,
        splits: dict[str, tuple[np.ndarray, np.ndarray]],
        left_out: list[str],
    ):
        super().__init__(name, labels, image_size)
        self._splits, self._left_out = splits, left_out

    def base_sizes(self) -> dict[str, int]:
        return {name: len(labels) for name, (_, labels) in self._splits.items()}

    def base_split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self._splits[name]

    def encoded(self, stored: tf.Tensor) -> Encoded:
        path, orientation = tf.unstack(stored)
        return Encoded(tf.io.read_file(path), tf.strings.to_number(orientation, tf.int32))

    def decode(self, encoded: Encoded) -> tf.Tensor:
        return decode_photo(*encoded)

    def overview(self) -> str:
        counts = {
            label: {split: int(np.sum(labels == index)) for split, (_, labels) in self._splits.items()}
            for index, label in enumerate(self.labels)
        }
        return overview(self.name, self.labels, self.base_sizes(), counts, self._left_out)

    def explain(self, error: Exception) -> UserError:
        paths = [pathlib.Path(os.fsdecode(path)) for cells, _ in self._splits.values() for path, _ in cells]
        faults, seen, began = [], 0, time.monotonic()
        # However long it takes until one is found: something could not be read, and its name is
        # wanted.
        while seen < len(paths) and not (faults and time.monotonic() - began > _EXPLAIN_SECONDS):
            batch = paths[seen : seen + 1000]
            faults += [
                (path, fault) for path, fault in zip(batch, decoding_faults(batch), strict=True) if fault
            ]
            seen += len(batch)
        if not faults:
            return super().explain(error)
        among = "" if seen == len(paths) else f"Among the first {seen:,} of {len(paths):,} files, "
        return UserError(f"{among}the folder {self.name!r} holds {_in_words(self.name, faults)}")


def open_folder(root: str, max_bad_images: int = 0) -> FolderSource:
    """Lists a folder's images and looks at each file, before any work.

    Splits may be sliced: their order is shuffled once with a fixed seed, so that a slice
    holds all classes.

    Args:
      root: the folder.
      max_bad_images: so many files that cannot be decoded are left out and named. Above 0 all
        files are decoded now: one that is met later cannot be left out, since the order of
        images depends on their number.

    Raises:
      UserError: no images, fewer than two classes, empty class folders, image files of other
        formats, or files that cannot be decoded; all that is wrong at once.
    """
    listing = scan(root)
    rows = listing.images
    require(
        # A folder that holds nothing but problems is refused below, by their names.
        bool(rows or listing.problems),
        f"The folder {root!r} holds no images; expected "
        f"{root}/<split>/<class>/*.jpg or {root}/<class>/*.jpg ({', '.join(SUFFIXES)}).",
    )
    looks = look_at([path for *_, path in rows])
    classes = sorted({name for _, name, _ in rows})
    faults = _faults(rows, looks, decode_all=max_bad_images > 0)
    _refuse(root, listing, faults if len(faults) > max_bad_images else [], max_bad_images)
    rows, looks = _without(rows, looks, faults)
    empty = sorted(set(classes) - {name for _, name, _ in rows})
    require(
        not empty, f"The folder {root!r} has no image left of {', '.join(map(repr, empty))}; all are bad."
    )
    require(
        len(classes) > 1,
        f"The folder {root!r} holds images of one class only ({classes[0]!r}); "
        "a classifier needs at least two class folders.",
    )
    # The short side, which is the same however the photograph is held.
    sides = {min(look.width, look.height) for look in looks}
    return FolderSource(
        root,
        classes,
        sides.pop() if len(sides) == 1 else None,
        _splits(rows, looks, classes),
        listing.left_out + [_in_words(root, faults, "left out by --max_bad_images")] * bool(faults),
    )


def _without(
    rows: list[Row], looks: list[ImageFile], faults: list[Fault]
) -> tuple[list[Row], list[ImageFile]]:
    """What is left of both, in order."""
    bad = {path for path, _ in faults}
    good = [index for index, (*_, path) in enumerate(rows) if path not in bad]
    return [rows[index] for index in good], [looks[index] for index in good]


def _faults(rows: list[Row], looks: list[ImageFile], decode_all: bool) -> list[Fault]:
    """Each broken file with what is wrong with it, as far as the looks make one look."""
    pixels = sum(look.width * look.height for look in looks)
    every = decode_all or pixels <= DECODED_PIXELS
    doubtful = [
        path
        for (*_, path), look in zip(rows, looks, strict=True)
        if not look.fault and (every or not look.whole)
    ]
    found = dict(zip(doubtful, decoding_faults(doubtful), strict=True))
    faults = ((path, look.fault or found.get(path, "")) for (*_, path), look in zip(rows, looks, strict=True))
    return [(path, fault) for path, fault in faults if fault]


def _refuse(root: str, listing: Listing, faults: list[Fault], allowed: int) -> None:
    problems = list(listing.problems)
    if faults:
        more = f" instead of {allowed}" if allowed else ""
        advice = f"repair or remove them, or leave them out with --max_bad_images={len(faults)}{more}"
        problems.append(_in_words(root, faults, advice))
    require(
        not problems,
        f"The folder {root!r} cannot be used as it is. It holds " + "\nIt also holds ".join(problems),
    )


def _in_words(root: str, faults: list[Fault], then: str = "repair or remove") -> str:
    """`2 image files that cannot be decoded; repair or remove: …`, each on a line of its own."""
    lines = [f"{path.relative_to(root)}: {fault}" for path, fault in faults]
    files = "image file" if len(lines) == 1 else "image files"
    return f"{len(lines):,} {files} that cannot be decoded; {then}:{listed(lines)}"


def _splits(
    rows: list[Row], looks: list[ImageFile], classes: list[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    index = {name: i for i, name in enumerate(classes)}
    columns = collections.defaultdict(list)
    for (split, name, path), look in zip(rows, looks, strict=True):
        cell = (os.fsencode(path), str(look.orientation).encode())
        columns[split].append((cell, index[name]))
    splits = {}
    for split, pairs in columns.items():
        cells, labels = zip(*(pairs[i] for i in fixed_permutation(len(pairs))), strict=True)
        splits[split] = np.array(cells, object), np.array(labels, np.int64)
    return splits
