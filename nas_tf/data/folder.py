"""A folder of class folders: `root/split/class/*.jpg`, or `root/class/*.jpg` as `train`."""

import collections
import pathlib

import numpy as np
import tensorflow as tf

from nas_tf.data.decode import decode_rgb
from nas_tf.data.order import fixed_permutation
from nas_tf.data.sources import IndexedSource
from nas_tf.errors import UserError, require

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
# How whole files end; a file without it may be cut short and is decoded to find out.
_ENDINGS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}


class FolderSource(IndexedSource):
    """Images read from their files as they are needed."""

    def __init__(self, name: str, labels: list[str], image_size: int | None,
                 splits: dict[str, tuple[np.ndarray, np.ndarray]]):
        super().__init__(name, labels, image_size)
        self._splits = splits

    def base_sizes(self) -> dict[str, int]:
        return {name: len(labels) for name, (_, labels) in self._splits.items()}

    def base_split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self._splits[name]

    def image(self, cell: tf.Tensor) -> tf.Tensor:
        return decode_rgb(tf.io.read_file(cell))

    def explain(self, error: Exception) -> UserError:
        for paths, _ in self._splits.values():
            for path in paths:
                _decode(path.decode())
        return super().explain(error)


def open_folder(root: str) -> FolderSource:
    """Lists a folder's images and checks each file's beginning and end.

    Splits may be sliced: their order is shuffled once with a fixed seed, so that a slice
    holds all classes.

    Raises:
      UserError: no images, fewer than two classes, or a file that is no image.
    """
    files = _image_files(pathlib.Path(root))
    require(bool(files), f"The folder {root!r} holds no images; expected "
            f"{root}/<split>/<class>/*.jpg or {root}/<class>/*.jpg ({', '.join(SUFFIXES)}).")
    classes = sorted({name for _, name, _ in files})
    require(len(classes) > 1,
            f"The folder {root!r} holds images of one class only ({classes[0]!r}); "
            "a classifier needs at least two class folders.")
    sizes = {_checked_size(path) for _, _, path in files}
    image_size = min(sizes.pop()) if len(sizes) == 1 else None
    return FolderSource(root, classes, image_size, _splits(files, classes))


def _image_files(root: pathlib.Path) -> list[tuple[str, str, pathlib.Path]]:
    """(split, class, path) of every image, sorted."""
    nested = [("", *_relative(root, path)) for path in sorted(root.glob("*/*"))]
    flat = [("train", name, path) for _, (name, *_), path in nested if _is_image(path)]
    if flat:
        return flat
    deep = [(_relative(root, path)[0], path) for path in sorted(root.glob("*/*/*"))]
    return [(parts[0], parts[1], path) for parts, path in deep if _is_image(path)]


def _relative(root: pathlib.Path, path: pathlib.Path) -> tuple[tuple[str, ...], pathlib.Path]:
    return path.relative_to(root).parts, path


def _is_image(path: pathlib.Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _splits(files, classes: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    index = {name: i for i, name in enumerate(classes)}
    columns = collections.defaultdict(list)
    for split, name, path in files:
        columns[split].append((str(path).encode(), index[name]))
    splits = {}
    for split, rows in columns.items():
        paths, labels = zip(*(rows[i] for i in fixed_permutation(len(rows))))
        splits[split] = np.array(paths, object), np.array(labels, np.int64)
    return splits


def _checked_size(path: pathlib.Path) -> tuple[int, int]:
    """(width, height) from the header; a file that may be broken is decoded whole."""
    from PIL import Image  # pylint: disable=import-outside-toplevel

    try:
        with Image.open(path) as image:
            size = image.size
        with open(path, "rb") as stream:
            stream.seek(max(0, path.stat().st_size - 16))
            ends_well = _ENDINGS.get(path.suffix.lower(), b"") in stream.read()
    except (OSError, ValueError) as error:
        raise _broken(path, error) from error
    if not ends_well:
        _decode(str(path))
    return size


def _decode(path: str) -> None:
    try:
        decode_rgb(tf.io.read_file(path))
    except tf.errors.OpError as error:
        raise _broken(path, error) from error


def _broken(path, error: Exception) -> UserError:
    reason = str(error).splitlines()[0].split("{{")[0].strip()
    return UserError(f"The image file {str(path)!r} cannot be decoded ({reason}); "
                     "repair or remove it.")
