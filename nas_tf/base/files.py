"""Reading and writing files so that a killed process never leaves half of one."""

import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

from nas_tf.base.errors import UserError, require, shortened

# Lists within lists; our own files have less than ten. Python's reader goes only so deep, and what
# walks through the content afterwards less deep still.
_MAX_DEPTH = 100


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path`; on success it replaces `path` in one step.

    The temporary name keeps the suffix of `path`, for writers that look at it.
    """
    path = check_writable(path)
    with saving(path):
        # Beside it, since a rename is one step only within a file system.
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name.split('.')[0]}-", suffix="".join(path.suffixes), dir=path.parent
        )
        # Writers get a path and open it themselves.
        os.close(handle)
        temporary = pathlib.Path(name)
        try:
            yield temporary
            # mkstemp makes files private; a result should be as readable as any other file.
            temporary.chmod(0o666 & ~_umask())
            # Before the rename, or a power loss could leave the new name with nothing in it.
            sync(temporary)
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            # After success there is nothing left of this name.
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def saving(path: str | os.PathLike) -> Iterator[None]:
    """What the operating system refuses inside becomes a `UserError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise cannot_save(path, error) from error


def cannot_save(path: str | os.PathLike, error: Exception) -> UserError:
    """Why `path` was not written, and that nothing before it was lost."""
    reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "")
    return UserError(
        f"Cannot write {str(path)!r}: {reason or type(error).__name__}. What was saved before is intact; "
        "once it can be written, the same command goes on from there."
    )


def sync(path: str | os.PathLike) -> None:
    """Waits until the content of the file `path` would outlast a power loss."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: str | os.PathLike) -> None:
    """The same for the names in a folder, as far as the file system can."""
    # Some network file systems, and Windows, know no such thing of folders.
    with contextlib.suppress(OSError):
        sync(path)


def check_writable(path: str | os.PathLike) -> pathlib.Path:
    """Makes the parent folders of a file to be written; `UserError` if it cannot be."""
    path = pathlib.Path(path)
    require(not path.is_dir(), f"Cannot write the file {str(path)!r}: it is a folder.")
    make_folder(path.parent)
    return path


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes `content` to `path` atomically, making parent folders."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike, content: str) -> None:
    """Writes `content` to `path` atomically as UTF-8, making parent folders."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Writes `content` to `path` atomically as indented JSON."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_json(path: str | os.PathLike, what: str) -> Any:
    """Parsed content of the JSON file `path`; `what` names it in the `UserError`s.

    Raises:
      UserError: it cannot be read, is no JSON, or is nested more than `_MAX_DEPTH` deep.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot read the {what} {str(path)!r}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"The {what} {str(path)!r} is not a text file.") from error
    return parse_json(text, f"{what} {str(path)!r}")


def parse_json(text: str, where: str) -> Any:
    """Parsed JSON; `where` names its file in the `UserError`s.

    Raises:
      UserError: it is no JSON, or is nested more than `_MAX_DEPTH` deep.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"The {where} is not valid JSON: {shortened(str(error))}.") from error
    except RecursionError as error:
        raise _too_deep(where) from error
    if _depth_exceeds(content, _MAX_DEPTH):
        raise _too_deep(where)
    return content


def _too_deep(where: str) -> UserError:
    return UserError(f"The {where} is nested too deeply; at most {_MAX_DEPTH} levels are read.")


def _depth_exceeds(content: Any, limit: int) -> bool:
    """Whether JSON holds lists or objects in more than `limit` levels."""
    level = [content] if isinstance(content, (dict, list)) else []
    for _ in range(limit):
        inner = (value.values() if isinstance(value, dict) else value for value in level)
        level = [value for values in inner for value in values if isinstance(value, (dict, list))]
        if not level:
            return False
    return True


def make_folder(path: str | os.PathLike) -> pathlib.Path:
    """Makes the folder `path` with its parents, and checks that files can be made in it."""
    path = pathlib.Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Says nothing of a folder that was there already.
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        reason = "it is a file" if path.is_file() else error.strerror
        raise UserError(f"Cannot write to the folder {str(path)!r}: {reason}.") from error
    return path


def sha256(path: str | os.PathLike) -> str:
    """Hexadecimal digest of a file's content."""
    try:
        with open(path, "rb") as stream:
            digest = hashlib.sha256()
            # In pieces: the files of a large network's state need not fit into memory twice.
            while piece := stream.read(1 << 20):
                digest.update(piece)
            return digest.hexdigest()
    except OSError as error:
        raise UserError(f"Cannot read the file {str(path)!r}: {error.strerror}.") from error


def _umask() -> int:
    mask = os.umask(0)  # it can be read only by setting another
    os.umask(mask)
    return mask
