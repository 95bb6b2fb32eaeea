"""What lies in a folder of class folders: images, what is left out, and what is wrong.

`root/class/*.jpg` is one split, `train`; `root/split/class/*.jpg` are several. Imports no
TensorFlow and opens no file.
"""

import collections
import dataclasses
import os
import pathlib

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp")
# Images too, but none that the pipeline reads. Left out without a word they would be missed.
UNREAD_SUFFIXES = (
    ".gif",
    ".tif",
    ".tiff",
    ".heic",
    ".heif",
    ".avif",
    ".jxl",
    ".jp2",
    ".j2k",
    ".svg",
    ".ico",
    ".psd",
    ".tga",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".raw",
    ".dng",
    ".cr2",
    ".cr3",
    ".nef",
    ".arw",
    ".orf",
    ".rw2",
    ".exr",
    ".hdr",
    ".dds",
    ".pcx",
)
# Made by archivers and file servers beside the images, with copies of their names.
_HIDDEN_FOLDERS = ("__MACOSX", "@eaDir")
_DEEPEST = 8  # levels; ends a circle of symbolic links
SHOWN = 20  # of a longer list

Parts = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Listing:
    """A folder's content.

    Attributes:
      images: (split, class, path) of every image, sorted.
      left_out: what is not read, in words, such as `2 hidden files (cat/.a.png, …)`.
      problems: what must be put right first, each in words.
    """

    images: list[tuple[str, str, pathlib.Path]]
    left_out: list[str]
    problems: list[str]


def scan(root: str | os.PathLike) -> Listing:
    """Lists a folder of class folders; the caller refuses what has `problems`."""
    found = _walk(pathlib.Path(root))
    depths = collections.defaultdict(list)
    for parts in found["image"]:
        depths[len(parts)].append(parts)
    outside = depths.pop(1, [])
    problems = _depth_problems(depths)
    if found["unread"]:
        problems.append(
            _listed(found["unread"], "image", "images", " of a format that is not read")
            + f"; convert to one of {', '.join(SUFFIXES)}, or remove"
        )
    images: list[tuple[str, str, pathlib.Path]] = []
    named: list[str] = []
    if not problems or len(depths) == 1:
        nested = 3 in depths
        empty, named = _empty_folders(found, nested) if depths else ([], [])
        problems += empty
        images = [
            (parts[0] if nested else "train", parts[-2], pathlib.Path(root, *parts))
            for rows in depths.values()
            for parts in sorted(rows)
        ]
    left_out = [
        _listed(rows, *what)
        for rows, what in (
            (outside, ("image", "images", " outside class folders")),
            (found["hidden"], ("hidden file", "hidden files")),
            (found["other"], ("other file", "other files")),
        )
        if rows
    ]
    return Listing(images, left_out + named, problems)


def listed(lines: list[str]) -> str:
    """The first lines, indented, and how many more there are."""
    more = [f"… and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
    return "".join(f"\n  {line}" for line in [*lines[:SHOWN], *more])


def _walk(root: pathlib.Path) -> dict[str, list[Parts]]:
    """Paths from `root`, sorted, by kind: folder, image, unread, hidden, other."""
    kinds = ("folder", "image", "unread", "hidden", "other")
    found: dict[str, list[Parts]] = {kind: [] for kind in kinds}
    for top, folders, names in os.walk(root, followlinks=True):
        above = pathlib.Path(top).relative_to(root).parts
        hidden = any(map(_is_hidden, above))
        # In place, because os.walk goes into what is left in this very list.
        folders[:] = sorted(folders) if len(above) < _DEEPEST else []
        if not hidden:
            found["folder"] += [(*above, name) for name in folders if not _is_hidden(name)]
        for name in sorted(names):
            kind = "hidden" if hidden or _is_hidden(name) else _kind(pathlib.Path(top, name))
            found[kind].append((*above, name))
    return {kind: sorted(rows) for kind, rows in found.items()}


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _HIDDEN_FOLDERS


def _kind(path: pathlib.Path) -> str:
    suffix = path.suffix.lower()
    if not path.is_file():  # such as a link that leads nowhere
        return "other"
    return "image" if suffix in SUFFIXES else "unread" if suffix in UNREAD_SUFFIXES else "other"


def _depth_problems(depths: dict[int, list[Parts]]) -> list[str]:
    """Images of which it is not clear which class they are of."""
    if len(depths) <= 1 and not any(depth > 3 for depth in depths):
        return []
    examples = ", ".join("/".join(depths[depth][0]) for depth in sorted(depths))
    return [
        "images at other places than <class>/ throughout, or <split>/<class>/ throughout "
        f"({examples}), so that their classes are not clear"
    ]


def _empty_folders(found: dict[str, list[Parts]], nested: bool) -> tuple[list[str], list[str]]:
    """Class folders without an image: (in words, to be refused; in words, to be named).

    A class that one split has and another has not is a class all the same, as where the split
    has no folder for it. A class or a split without any image is refused.
    """
    full = {parts[:depth] for parts in found["image"] for depth in range(1, len(parts))}
    empty = [parts for parts in found["folder"] if len(parts) <= 1 + nested and parts not in full]
    # An empty split's folders say enough.
    empty = [parts for parts in empty if not any(other[:-1] == parts for other in empty)]
    classes = {parts[1] for parts in full if len(parts) == 2} if nested else set()
    named = [parts for parts in empty if parts[-1] in classes and parts[:1] in full]
    refused = [parts for parts in empty if parts not in named]
    files = found["unread"] + found["other"] + found["hidden"]

    def in_words(folders: list[Parts], what: str) -> list[str]:
        each = _joined([f"{'/'.join(parts)}/ ({_content(parts, files)})" for parts in folders])
        plural = "" if len(folders) == 1 else "s"
        return [f"{len(folders)} class folder{plural} without an image{what}: {each}"] * bool(folders)

    return in_words(refused, " that is read; fill or remove"), in_words(named, "")


def _content(folder: Parts, files: list[Parts]) -> str:
    inside = [parts for parts in files if parts[: len(folder)] == folder]
    return _by_suffix(inside) if inside else "empty"


def _listed(rows: list[Parts], one: str, many: str, rest: str = "") -> str:
    """`3 other files (.txt 2, .db 1: cat/a.txt, …)`."""
    names = _joined(["/".join(row) for row in rows], shown=3)
    return f"{len(rows):,} {one if len(rows) == 1 else many}{rest} ({_by_suffix(rows)}: {names})"


def _by_suffix(rows: list[Parts]) -> str:
    counts = collections.Counter(pathlib.Path(row[-1]).suffix.lower() or "no suffix" for row in rows)
    return ", ".join(f"{suffix} {count:,}" for suffix, count in counts.most_common(5))


def _joined(words: list[str], shown: int = SHOWN) -> str:
    more = [f"and {len(words) - shown:,} more"] if len(words) > shown else []
    return ", ".join([*words[:shown], *more])
