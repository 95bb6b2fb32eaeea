"""Reading a checkpoint takes memory in proportion to the file, however often it shares storages."""

import io
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.imported import torch_pickle
from nas_tf.imported.torch_file import read_tensors
from tests.imported import torch_writer
from tests.imported.torch_writer import FORMATS, View

each_format = pytest.mark.parametrize("to_bytes", FORMATS.values(), ids=FORMATS.keys())


def peak_bytes(read) -> int:
    """The most memory that `read()` held at once."""
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(message: str, read):
    """`read` as a function that expects a refusal."""

    def reading():
        with pytest.raises(UserError, match=message):
            read()

    return reading


@each_format
def test_a_storage_that_many_tensors_share_is_held_once(tmp_path, to_bytes):
    storage = np.arange(250_000, dtype=np.float32)  # a megabyte; 200 copies would be 200
    path = tmp_path / "net.pth"
    path.write_bytes(to_bytes({f"w{i}": View(storage, 0, (500, 500)) for i in range(200)}))
    found = {}
    peak = peak_bytes(lambda: found.update(read_tensors(path)))
    assert peak < 6 * path.stat().st_size
    assert len(found) == 200
    np.testing.assert_array_equal(found["w7"], storage.reshape(500, 500))


def test_a_small_archive_with_large_storages_is_refused_before_it_is_unpacked(tmp_path):
    size = 4_000_000
    plain = torch_writer.zip_bytes({f"w{i}": View(np.zeros(size, np.float32)) for i in range(2)})
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(io.BytesIO(plain)) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
    assert path.stat().st_size < 100_000
    peak = peak_bytes(
        refused(
            f"unpacks to {2 * 4 * size + 1024:,} bytes; at most .* for a file of its size",
            lambda: read_tensors(path),
        )
    )
    assert peak < 2_000_000


def test_an_archive_whose_pickle_is_larger_than_the_file_is_refused(tmp_path):
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", bytes(30_000_000))
    peak = peak_bytes(
        refused("describes its tensors in 30,000,000 bytes, more than it has", lambda: read_tensors(path))
    )
    assert peak < 2_000_000


def test_a_pickle_cannot_have_one_list_copied_again_and_again():
    # A list of 20,000 pairs, number 0; then OrderedDict(list) 2,000 times.
    pairs = b"".join(b"(K\x01M" + struct.pack("<H", i) + b"l" for i in range(20_000))
    program = (
        b"\x80\x02(]("
        + pairs
        + b"eq\x000"
        + b"ccollections\nOrderedDict\nq\x01"
        + b"h\x01h\x00\x85R" * 2000
        + b"l."
    )
    peak = peak_bytes(lambda: torch_pickle.load(io.BytesIO(program), "file"))
    assert peak < 60 * len(program)  # a list of two numbers is some 90 bytes, and took 6
    sizes = b"\x80\x02(](" + b"K\x01" * 40 + b"eq\x000" + b"ctorch\nSize\nh\x00\x85Rl."
    with pytest.raises(UserError, match="damaged"):
        torch_pickle.load(io.BytesIO(sizes), "file")


def test_numbers_beyond_the_length_of_the_pickle_are_refused():
    program = b"\x80\x02}r" + struct.pack("<I", 50_000_000) + b"."  # a table of 400 MB
    peak = peak_bytes(refused("truncated or damaged", lambda: torch_pickle.load(io.BytesIO(program), "file")))
    assert peak < 1_000_000


def test_a_hundred_thousand_tiny_tensors_in_a_small_file_are_refused(tmp_path):
    storage = View(np.zeros(1, np.float32))
    content = torch_writer.legacy_bytes({"w": storage})
    # The same tensor, by its number in the pickle, under other names.
    names = {f"{i:x}": storage for i in range(100_000)}
    path = tmp_path / "net.pth"
    path.write_bytes(torch_writer.legacy_bytes(names))
    assert len(content) < path.stat().st_size < 2_000_000
    peak = peak_bytes(refused("unpacks to .* bytes; at most", lambda: read_tensors(path)))
    assert peak < 20 * path.stat().st_size


def test_an_ordered_dict_of_pairs_as_older_pythons_wrote_it():
    class Old:
        def __reduce__(self):
            import collections

            return collections.OrderedDict, ([["a", 1], ["b", 2]],)

    assert torch_pickle.load(io.BytesIO(pickle.dumps(Old(), 2)), "file") == {"a": 1, "b": 2}
