"""Label files: one name per line, in the order of the model's outputs."""

import pathlib

from export import archive
from nas_tf.base import files
from nas_tf.base.errors import UserError, require

FILE_NAME = "labels.txt"
WORDS_NAME = "labels_en.txt"
# WordNet's words of ImageNet's classes, which the dataset itself names by WordNet's numbers.
_IMAGENET_WORDS = pathlib.Path(__file__).with_name("imagenet_words.txt")
_MAX_BYTES = 1 << 24


def text_of(labels: tuple[str, ...]) -> str:
    """The content of a label file."""
    # A line break inside a name would move all names behind it. `chr`, because before Python 3.12 an
    # f-string's braces take no backslash.
    return "".join(f"{label.replace(chr(10), ' ')}\n" for label in labels)


def write(path: pathlib.Path, labels: tuple[str, ...]) -> None:
    """Writes a label file atomically."""
    files.write_text(path, text_of(labels))


def append(tflite_path: pathlib.Path, labels: tuple[str, ...]) -> None:
    """Appends `labels.txt` to a `.tflite` file, and English words where the labels are ImageNet's ids."""
    archive.append(tflite_path, FILE_NAME, text_of(labels))
    if words := words_of(labels):
        archive.append(tflite_path, WORDS_NAME, text_of(words))


def words_of(labels: tuple[str, ...]) -> tuple[str, ...] | None:
    """English words of labels that are WordNet ids of ImageNet's classes; else None.

    A label that is no such id, as the background's, stays as it is.
    """
    if not any(label.startswith("n0") or label.startswith("n1") for label in labels):
        return None
    rows = _IMAGENET_WORDS.read_text(encoding="utf-8").splitlines()
    words = dict(row.split("\t") for row in rows if not row.startswith("#"))
    known = sum(label in words for label in labels)
    # All of them but a background, or they are somebody's own names that look like ids.
    return tuple(words.get(label, label) for label in labels) if known >= max(1, len(labels) - 1) else None


def path_beside(output: pathlib.Path, alone: bool) -> pathlib.Path:
    """Where the label file of `output` lies.

    Args:
      output: the `.tflite` file.
      alone: whether it is the only one of its folder, so that the plain name belongs to it.
    """
    return output.parent / (FILE_NAME if alone else f"{output.stem}_{FILE_NAME}")


def check_writable(path: pathlib.Path, labels: tuple[str, ...]) -> None:
    """Refuses to write over a file that holds anything but these labels."""
    try:
        same = not path.exists() or path.read_bytes() == text_of(labels).encode("utf-8")
    except OSError as error:
        raise UserError(f"Cannot read the label file {str(path)!r}: {error.strerror}.") from error
    require(
        same,
        f"The label file {str(path)!r} exists and holds other labels; name another --output or remove it.",
    )


def read_appended(tflite_path: str | pathlib.Path, name: str = "") -> tuple[str, ...] | None:
    """Labels inside a `.tflite` file, or None if it has none; `name`: of the archive's entry."""
    # Files from elsewhere say in their TFLite metadata what theirs is called.
    text = archive.read(tflite_path, name or FILE_NAME, _MAX_BYTES)
    return None if text is None else tuple(text.splitlines())
