"""Small files inside a `.tflite`: entries of a zip archive at its end, which interpreters ignore."""

import pathlib
import struct
import zipfile
import zlib

from nas_tf.base.errors import UserError, require, shortened

# Damaged, encrypted, or packed in a way that Python does not know.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    IndexError,
    ValueError,
    OSError,
    NotImplementedError,
    RuntimeError,
)
# What the tools write that put labels into a file. Others may ask for gigabytes to unpack little.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def append(tflite_path: str | pathlib.Path, name: str, text: str) -> None:
    """Appends an entry."""
    # On a file that is no archive yet, mode "a" begins one at its end and leaves the flatbuffer before it.
    with zipfile.ZipFile(tflite_path, mode="a") as archive:
        # A fixed date keeps the file's bytes the same from run to run.
        archive.writestr(zipfile.ZipInfo(name), text)


def read(tflite_path: str | pathlib.Path, name: str, max_bytes: int) -> str | None:
    """The text of an entry, or None if the file has none of this name.

    Raises:
      UserError: it is longer than `max_bytes`, damaged, or not UTF-8.
    """
    if not zipfile.is_zipfile(tflite_path):
        return None
    where = f"The entry {name!r} inside {str(tflite_path)!r}"
    try:
        with zipfile.ZipFile(tflite_path) as archive:
            # Files from elsewhere may hold an archive that unpacks to gigabytes.
            entry = archive.getinfo(name)
            require(entry.file_size <= max_bytes, f"{where} is longer than {max_bytes} bytes.")
            require(entry.compress_type in _METHODS, f"{where} is packed in a way that is not read.")
            return archive.read(name).decode("utf-8")
    # zipfile's way of saying that there is no such entry.
    except KeyError:
        return None
    except _DAMAGED as error:
        raise UserError(f"{where} is damaged: {shortened(str(error))}.") from error
