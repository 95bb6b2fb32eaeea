"""Looking at image files before work: what they are, which way up, and whether they are whole."""

import functools
import os
import pathlib
import struct
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

FORMATS = ("JPEG", "MPO", "PNG", "BMP", "WEBP")  # MPO: a camera's JPEG with more pictures after it
_ORIENTATION = 0x0112  # EXIF tag
# A header of a few bytes may say anything, and a decoder makes room for it before it reads on. The
# densest is a PNG with one bit for a pixel, of which deflate packs 1032 bytes into one.
_PIXELS_PER_BYTE, _PIXELS_ANYWAY = 8 * 1032, 1 << 20
_MEMORY = 1 << 17  # files whose looks are kept, for stages of one process that open the same folder


class ImageFile(NamedTuple):
    """What the header says.

    Attributes:
      width, height: in pixels, as stored.
      orientation: EXIF's, 1 (upright) to 8.
      whole: the file ends as its format does; else it may be cut short.
      fault: why it cannot be read, or empty.
    """

    width: int = 0
    height: int = 0
    orientation: int = 1
    whole: bool = True
    fault: str = ""


def look_at(paths: list[pathlib.Path]) -> list[ImageFile]:
    """The headers of files, in order: about 0.1 ms each, whatever their size."""
    return _in_parallel(_header, [_version(path) for path in paths])


def decoding_faults(paths: list[pathlib.Path]) -> list[str]:
    """Why each file cannot be decoded, or empty; by the decoder that training uses."""
    _decoder().get_concrete_function()  # traced once, before threads share it
    return _in_parallel(_decoding_fault, [_version(path) for path in paths])


def _in_parallel(function: Callable, versions: list[tuple]) -> list:
    with ThreadPool(min(8, os.cpu_count() or 1)) as pool:
        return pool.starmap(function, versions)


def _version(path: pathlib.Path) -> tuple[str, int, int]:
    """Tells a file from what it was before it was changed."""
    try:
        facts = path.stat()
    except OSError:  # gone since it was listed; opening it says so
        return str(path), 0, 0
    return str(path), facts.st_size, facts.st_mtime_ns


@functools.lru_cache(maxsize=_MEMORY)
def _header(path: str, size: int, _: int) -> ImageFile:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.width * image.height > _PIXELS_ANYWAY + _PIXELS_PER_BYTE * size:
                return ImageFile(
                    fault=f"it says {image.width}×{image.height} pixels, which its {size:,} bytes cannot hold"
                )
            if image.format not in FORMATS:
                return ImageFile(fault=f"it is of the format {image.format}, whatever its name")
            # Not by `is_animated` alone: Pillow says so of a camera's MPO too, whose first picture is
            # the photograph.
            if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
                return ImageFile(fault="it is an animation")
            return ImageFile(*image.size, _orientation(image), _is_whole(path, size, image.format))
    except Image.UnidentifiedImageError:
        return ImageFile(fault="it is no image" if size else "it is empty")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return ImageFile(fault=first_line(error))


def _orientation(image) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the whole file to look for a tag after the pixels
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, struct.error):
        return 1  # a damaged tag says nothing
    return value if value in range(1, 9) else 1


def _is_whole(path: str, size: int, image_format: str) -> bool:
    with open(path, "rb") as stream:
        head = stream.read(8)
        if image_format == "WEBP":
            # RIFF counts the bytes behind its first eight.
            return size >= struct.unpack("<I", head[4:8])[0] + 8
        if image_format == "BMP":
            # A BMP counts the bytes of the whole file.
            return size >= struct.unpack("<I", head[2:6])[0]
        stream.seek(max(0, size - 16))
        # PNG ends with IEND and its checksum, JPEG with its end-of-image marker.
        # Some cameras append a few bytes.
        return (b"IEND\xaeB`\x82" if image_format == "PNG" else b"\xff\xd9") in stream.read()


@functools.lru_cache(maxsize=_MEMORY)
def _decoding_fault(path: str, *_: int) -> str:
    import tensorflow as tf

    try:
        _decoder()(path)
    except tf.errors.OpError as error:
        return first_line(error)
    return ""


@functools.cache
def _decoder() -> Callable:
    """Decodes the file of a path in one graph: op by op it takes as long again."""
    import tensorflow as tf

    from nas_tf.data.decode import decode_photo

    return tf.function(
        lambda path: tf.size(decode_photo(tf.io.read_file(path), tf.constant(1))),
        input_signature=[tf.TensorSpec([], tf.string)],
    )


def first_line(error: Exception) -> str:
    """A reason without TensorFlow's names of nodes."""
    # TensorFlow writes `{{function_node …}} reason [Op:Name]`.
    text = next(iter(str(error).splitlines()), "") or type(error).__name__
    return text.split("{{")[-1].split("}}")[-1].split(" [Op:")[0].strip()
