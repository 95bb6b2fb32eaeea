"""Tensors of a PyTorch checkpoint as numpy arrays, without PyTorch.

Two formats exist. Since version 1.6 a checkpoint is a zip archive: `<name>/data.pkl` and one
file for each storage, `<name>/data/<key>`. Before, it was a row of pickles (magic number, protocol,
system, content, list of storage keys) followed by the storages, each with its length.
"""

import io
import pathlib
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from nas_tf.base.errors import UserError, require
from nas_tf.imported import torch_pickle
from nas_tf.imported.torch_pickle import StorageReference, TensorReference

# How PyTorch's own `torch.serialization` begins a file of the older format.
_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# What reading may take beside the storages, in bytes: a small multiple of the file, for small
# pickles become larger objects; tensors are views, so it does not grow with them.
_BYTES_PER_FILE_BYTE, _BYTES_ANYWAY = 16, 1 << 20
_BYTES_PER_TENSOR = 512  # its name, shape and array
_READ_ERRORS = (
    zipfile.BadZipFile,
    KeyError,
    ValueError,
    OSError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    EOFError,
    TypeError,
    IndexError,
    AttributeError,
    OverflowError,
    MemoryError,
)


def read_tensors(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Name → array of the state_dict in the checkpoint `path`.

    The content may be the state_dict itself or a dict with it under "state_dict".

    Raises:
      UserError: unreadable, damaged, anything in it but tensors in containers, or a file that
        describes more than it holds.

    The arrays are read-only views of the storages, which several may share.
    """
    where = f"checkpoint {str(path)!r}"
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read the {where}: {error.strerror}.") from error
    # A zip archive begins with these four bytes.
    read = _read_zip if content[:4] == b"PK\x03\x04" else _read_legacy
    try:
        pickled, load_storage = read(io.BytesIO(content), where)
        state = _state_dict(pickled, where)
        _require_small(state, len(content), where)
        storages: dict[StorageReference, np.ndarray] = {}
        for reference in state.values():
            # Once each, however many tensors share it: a small file could else ask for much memory.
            if reference.storage not in storages:
                storages[reference.storage] = load_storage(reference.storage)
        return {name: _array(reference, storages[reference.storage]) for name, reference in state.items()}
    except _READ_ERRORS as error:
        raise UserError(
            f"The {where} is truncated or damaged ({type(error).__name__}: {str(error)[:80]})."
        ) from error


def _state_dict(pickled: Any, where: str) -> dict[str, TensorReference]:
    found = pickled.get("state_dict", pickled) if isinstance(pickled, dict) else None
    if not (
        isinstance(found, dict)
        and found
        and all(isinstance(k, str) and isinstance(v, TensorReference) for k, v in found.items())
    ):
        raise UserError(f"The {where} holds no state_dict (parameter names and tensors).")
    return found


def _require_small(state: dict[str, TensorReference], file_bytes: int, where: str) -> None:
    """Refuses storages larger than the file, and very many tensors, before any is read."""
    storages = {reference.storage for reference in state.values()}
    held = sum(storage.numel * np.dtype(storage.dtype).itemsize for storage in storages)
    require(
        held <= file_bytes,
        f"The {where} describes tensors of {held:,} bytes, and has {file_bytes:,} itself.",
    )
    limit, beside = _BYTES_ANYWAY + _BYTES_PER_FILE_BYTE * file_bytes, len(state) * _BYTES_PER_TENSOR
    require(
        beside <= limit,
        f"The {where} unpacks to {beside:,} bytes; at most {limit:,} are allowed for a file of its size.",
    )


def _read_zip(file: io.BytesIO, where: str) -> tuple[Any, Callable]:
    archive = zipfile.ZipFile(file)
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    require(bool(pickles), f"The {where} is a zip archive without data.pkl.")
    (pickle_name,) = pickles  # several are one of `_READ_ERRORS`
    folder = pickle_name.removesuffix("data.pkl")
    byte_order = f"{folder}byteorder"
    require(
        byte_order not in archive.namelist() or _member(archive, byte_order, where) == b"little",
        f"The {where} was written on a big-endian machine, which is not supported.",
    )
    pickled = torch_pickle.load(io.BytesIO(_member(archive, pickle_name, where)), where)

    def load_storage(storage: StorageReference) -> np.ndarray:
        name = f"{folder}data/{storage.key}"
        size = storage.numel * np.dtype(storage.dtype).itemsize
        if archive.getinfo(name).file_size != size:
            raise ValueError(f"storage {storage.key:.40} does not hold {storage.numel} numbers")
        return np.frombuffer(_member(archive, name, where), storage.dtype)

    return pickled, load_storage


def _member(archive: zipfile.ZipFile, name: str, where: str) -> bytes:
    """A member's content, at most as long as the file."""
    require(
        archive.getinfo(name).compress_type == zipfile.ZIP_STORED,
        f"The {where} is an archive whose part {name[-40:]!r} is compressed; PyTorch never compresses, so "
        "it was refused. Save the state_dict again with torch.save.",
    )
    return archive.read(name)


def _read_legacy(file: io.BytesIO, where: str) -> tuple[Any, Callable]:
    require(
        torch_pickle.load(file, where) == _MAGIC,
        f"The {where} is not a PyTorch checkpoint: it does not start with its magic number.",
    )
    protocol, system = torch_pickle.load(file, where), torch_pickle.load(file, where)
    require(
        protocol == _LEGACY_PROTOCOL and isinstance(system, dict) and system.get("little_endian") is True,
        f"The {where} was written by an unknown version or on a big-endian machine.",
    )
    pickled, keys = torch_pickle.load(file, where), torch_pickle.load(file, where)
    position = file.tell()
    buffer = file.getbuffer()
    starts: dict[str, int] = {}
    sizes = _storage_sizes(pickled, where)
    for key in keys:
        # Text alone: to hash whatever else a pickle can make may take years.
        if not isinstance(key, str) or key not in sizes:
            raise ValueError("a storage belongs to no tensor")
        (numel,) = struct.unpack_from("<q", buffer, position)
        if numel != sizes[key].numel:
            raise ValueError(f"storage {key:.40} has {numel} numbers, not {sizes[key].numel}")
        # A storage stands behind its length, 8 bytes.
        starts[key] = position + 8
        position = starts[key] + numel * np.dtype(sizes[key].dtype).itemsize

    def load_storage(storage: StorageReference) -> np.ndarray:
        return np.frombuffer(buffer, storage.dtype, storage.numel, starts[storage.key])

    return pickled, load_storage


def _storage_sizes(pickled: Any, where: str) -> dict[str, StorageReference]:
    return {r.storage.key: r.storage for r in _state_dict(pickled, where).values()}


def _array(reference: TensorReference, values: np.ndarray) -> np.ndarray:
    """The tensor as a view of its storage's `values`."""
    storage, offset, shape, strides = reference
    size = int(np.prod(shape, dtype=object))  # of Python's integers, which do not wrap around
    # The last element is at offset + Σ (n − 1) · stride.
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if size > storage.numel or (size and last >= storage.numel):
        raise ValueError(f"a tensor of shape {list(shape)} lies outside its storage")
    if not size:
        return np.zeros(shape, values.dtype)
    # NumPy's strides count bytes and PyTorch's elements; both ends were looked at above.
    steps = tuple(s * values.itemsize for s in strides)
    return np.lib.stride_tricks.as_strided(values[offset:], shape, steps, writeable=False)
