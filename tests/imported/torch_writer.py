"""Writes checkpoints in both of PyTorch's formats, so that tests need no PyTorch."""

import collections
import io
import pickle
import struct
import sys
import types
import zipfile

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "int64": "LongStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
}


def _fake_torch() -> dict[str, types.ModuleType]:
    """Modules whose names a pickle will hold."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def rebuild(*_):
        raise AssertionError("only its name is pickled")

    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType(rebuild.__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    for name in _STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))
    torch._utils = utils
    return {"torch": torch, "torch._utils": utils}


class View:
    """A tensor: a strided view of a flat storage."""

    def __init__(self, storage: np.ndarray, offset=0, shape=None, strides=None, dtype=None):
        self.storage, self.offset = storage, offset
        self.shape = storage.shape if shape is None else shape
        self.strides = (
            strides
            if strides is not None
            else tuple(int(np.prod(self.shape[i + 1 :])) for i in range(len(self.shape)))
        )
        self.dtype = dtype or str(storage.dtype)


class _Pickler(pickle.Pickler):
    def __init__(self, file, torch, with_view_metadata):
        super().__init__(file, protocol=2)
        self.torch, self.storages, self._legacy = torch, {}, with_view_metadata

    def reducer_override(self, value):
        if isinstance(value, View):
            arguments = (
                _Storage(value),
                value.offset,
                tuple(value.shape),
                tuple(value.strides),
                False,
                collections.OrderedDict(),
            )
            return self.torch["torch._utils"]._rebuild_tensor_v2, arguments
        return NotImplemented

    def persistent_id(self, value):
        if not isinstance(value, _Storage):
            return None
        key = str(id(value.view.storage))
        self.storages[key] = value.view.storage
        kind = getattr(self.torch["torch"], _STORAGES[value.view.dtype])
        entry = ("storage", kind, key, "cpu", value.view.storage.size)
        return (*entry, None) if self._legacy else entry


class _Storage:
    def __init__(self, view: View):
        self.view = view


def _pickled(content, legacy: bool):
    torch = _fake_torch()
    saved = {name: sys.modules.get(name) for name in torch}
    sys.modules.update(torch)
    try:
        file = io.BytesIO()
        pickler = _Pickler(file, torch, legacy)
        pickler.dump(content)
        return file.getvalue(), pickler.storages
    finally:
        for name, module in saved.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def as_views(tensors: dict[str, np.ndarray]) -> collections.OrderedDict:
    """Contiguous tensors in storages of their own."""
    return collections.OrderedDict(
        (name, View(np.ascontiguousarray(values).reshape(-1), 0, values.shape))
        for name, values in tensors.items()
    )


def zip_bytes(content) -> bytes:
    """The zip format of PyTorch 1.6 and later."""
    pickled, storages = _pickled(content, legacy=False)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net/data.pkl", pickled)
        for key, values in storages.items():
            archive.writestr(f"net/data/{key}", values.tobytes())
        archive.writestr("net/version", "3\n")
    return file.getvalue()


def legacy_bytes(content) -> bytes:
    """The format before: pickles in a row, then the storages."""
    pickled, storages = _pickled(content, legacy=True)
    head = [
        pickle.dumps(MAGIC, 2),
        pickle.dumps(PROTOCOL, 2),
        pickle.dumps({"protocol_version": PROTOCOL, "little_endian": True}, 2),
    ]
    body = b"".join(struct.pack("<q", v.size) + v.tobytes() for v in storages.values())
    return b"".join([*head, pickled, pickle.dumps(list(storages), 2), body])


FORMATS = {"zip": zip_bytes, "legacy": legacy_bytes}
