"""Checkpoints: both formats read to the bit; nothing in them is ever run."""

import collections
import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.imported import torch_pickle
from nas_tf.imported.torch_file import read_tensors
from tests.imported import torch_writer
from tests.imported.torch_writer import FORMATS, View

each_format = pytest.mark.parametrize("to_bytes", FORMATS.values(), ids=FORMATS.keys())


def write(tmp_path, content: bytes):
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    return path


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self._call = (function, arguments)

    def __reduce__(self):
        return self._call


@each_format
def test_tensors_come_back_bit_for_bit(tmp_path, to_bytes):
    rng = np.random.default_rng(0)
    tensors = {
        "conv.weight": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "bn.count": np.array(7, np.int64),
        "wide": rng.normal(size=(2, 5)),
        "half": rng.normal(size=3).astype(np.float16),
        "empty": np.zeros((0, 3), np.float32),
    }
    content = {"state_dict": torch_writer.as_views(tensors)}
    for state in (content, content["state_dict"]):
        found = read_tensors(write(tmp_path, to_bytes(state)))
        assert list(found) == list(tensors)
        for name, values in tensors.items():
            np.testing.assert_array_equal(found[name], values)
            assert found[name].dtype == values.dtype


@each_format
def test_views_of_one_storage(tmp_path, to_bytes):
    storage = np.arange(24, dtype=np.float32)
    state = {"transposed": View(storage, 2, (3, 4), (1, 5)), "row": View(storage, 20, (4,), (1,))}
    found = read_tensors(write(tmp_path, to_bytes(state)))
    expected = np.array([[2 + i + 5 * j for j in range(4)] for i in range(3)], np.float32)
    np.testing.assert_array_equal(found["transposed"], expected)
    np.testing.assert_array_equal(found["row"], storage[20:])


@each_format
@pytest.mark.parametrize(
    "view",
    [
        View(np.zeros(4, np.float32), 1, (4,), (1,)),
        View(np.zeros(4, np.float32), 0, (2, 3), (3, 1)),
        View(np.zeros(4, np.float32), 0, (1 << 40,), (0,)),
    ],
)
def test_a_tensor_outside_of_its_storage(tmp_path, to_bytes, view):
    with pytest.raises(UserError, match="truncated or damaged .*outside its storage"):
        read_tensors(write(tmp_path, to_bytes({"w": view})))


@each_format
@pytest.mark.parametrize(
    "wrap",
    [
        lambda evil: {"state_dict": {"w": evil}},
        lambda evil: evil,
        lambda evil: collections.OrderedDict(a=collections.OrderedDict(b=[evil])),
    ],
)
def test_a_call_of_os_system_is_refused_and_not_made(tmp_path, to_bytes, wrap):
    trap = tmp_path / "trap"
    path = write(tmp_path, to_bytes(wrap(Calls(os.system, f"touch {trap}"))))
    with pytest.raises(UserError, match="asks for 'posix.system'.*nothing in it was run"):
        read_tensors(path)
    assert not trap.exists()


@pytest.mark.parametrize("position", range(5))
def test_every_pickle_of_the_older_format_is_guarded(tmp_path, position):
    trap = tmp_path / "trap"
    evil = pickle.dumps(Calls(os.system, f"touch {trap}"), 2)
    parts = [
        pickle.dumps(torch_writer.MAGIC, 2),
        pickle.dumps(1001, 2),
        pickle.dumps({"little_endian": True}, 2),
        pickle.dumps({"w": 1}, 2),
    ]
    if position == 4:
        content = FORMATS["legacy"]({"w": View(np.zeros(1, np.float32))})
        content = content[: content.rindex(b"\x80\x02]")] + evil  # in place of the list of keys
    else:
        content = b"".join([*parts[:position], evil])
    with pytest.raises(UserError, match="posix.system"):
        read_tensors(write(tmp_path, content))
    assert not trap.exists()


@pytest.mark.parametrize(
    "function, arguments",
    [
        (eval, ("1",)),
        (getattr, (dict, "get")),
        (np.zeros, (3,)),
        (bytearray, (1 << 40,)),
        (pickle.loads, (b"",)),
    ],
)
def test_harmless_looking_calls_are_refused_too(tmp_path, function, arguments):
    path = write(tmp_path, FORMATS["zip"]({"w": Calls(function, *arguments)}))
    with pytest.raises(UserError, match="only tensors and containers"):
        read_tensors(path)


def test_a_pickle_cannot_change_what_the_reader_uses():
    """BUILD with slot state sets attributes of the object on top of the stack."""
    for module, name in torch_pickle._STAND_INS:
        program = (
            b"\x80\x02c"
            + module.encode()
            + b"\n"
            + name.encode()
            + b"\n"
            + b"N}X\x08\x00\x00\x00__call__K\x01s\x86b."
        )
        with pytest.raises(UserError):
            torch_pickle.load(io.BytesIO(program), "file")


@each_format
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, to_bytes):
    state = torch_writer.as_views({f"w{i}": np.ones((3, 3), np.float32) for i in range(3)})
    content = to_bytes(state)
    for length in range(0, len(content) - 1, 7):
        with pytest.raises(UserError):
            read_tensors(write(tmp_path, content[:length]))


@each_format
def test_damaged_bytes_never_raise_anything_else(tmp_path, to_bytes):
    content = to_bytes(torch_writer.as_views({"w": np.ones((2, 2), np.float32)}))
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            damaged[position] = rng.integers(256)
        try:
            read_tensors(write(tmp_path, bytes(damaged)))
        except UserError:
            refused += 1
    assert refused > 100


def test_a_storage_of_another_length_is_refused(tmp_path):
    content = FORMATS["zip"]({"w": View(np.zeros(4, np.float32))})
    path = write(tmp_path, content)
    name = next(n for n in zipfile.ZipFile(path).namelist() if "/data/" in n)
    other = tmp_path / "other.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for entry in old.namelist():
            new.writestr(entry, bytes(1 << 20) if entry == name else old.read(entry))
    with pytest.raises(UserError, match="does not hold 4 numbers"):
        read_tensors(other)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("part", ["net/data.pkl", "net/data/0", "net/byteorder"])
def test_a_compressed_part_is_refused_before_it_is_unpacked(tmp_path, method, part):
    """Damaged ones raised `zlib.error` and `LZMAError`, and small ones became large."""
    plain = FORMATS["zip"]({"w": View(np.zeros(4, np.float32))})
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(io.BytesIO(plain)) as old, zipfile.ZipFile(path, "w") as new:
        for entry in [*old.namelist(), "net/byteorder"]:
            name = "net/data/0" if entry.startswith("net/data/") else entry
            content = b"little" if name == "net/byteorder" else old.read(entry)
            if entry == "net/data.pkl":
                key = next(n for n in old.namelist() if "/data/" in n).rpartition("/")[2].encode()
                content = content.replace(
                    len(key).to_bytes(4, "little") + key, (1).to_bytes(4, "little") + b"0"
                )
            new.writestr(name, content, method if name == part else zipfile.ZIP_STORED)
    with pytest.raises(UserError, match=f"part '{part}' is compressed; PyTorch never compresses"):
        read_tensors(path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "truncated or damaged"),
        (b"hello there", "not a PyTorch checkpoint"),
        (pickle.dumps(17), "magic number"),
        (b"PK\x03\x04....", "truncated or damaged"),
    ],
)
def test_what_is_no_checkpoint(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_tensors(write(tmp_path, content))


def test_other_refusals(tmp_path):
    with pytest.raises(UserError, match="Cannot read the checkpoint .*No such file"):
        read_tensors(tmp_path / "absent.pth")
    with pytest.raises(UserError, match="holds no state_dict"):
        read_tensors(write(tmp_path, FORMATS["zip"]({"epoch": 3})))
    brain = View(np.zeros(2, np.float16), dtype="bfloat16")
    with pytest.raises(UserError, match="torch.BFloat16Storage"):
        read_tensors(write(tmp_path, FORMATS["zip"]({"w": brain})))
