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


def test_a_small_archive_with_large_parts_is_refused_before_it_is_unpacked(tmp_path):
    size = 4_000_000
    plain = torch_writer.zip_bytes({f"w{i}": View(np.zeros(size, np.float32)) for i in range(2)})
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(io.BytesIO(plain)) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.namelist():
            packed = zipfile.ZIP_STORED if entry.endswith(".pkl") else zipfile.ZIP_DEFLATED
            new.writestr(entry, old.read(entry), packed)
    assert path.stat().st_size < 100_000
    peak = peak_bytes(
        refused(
            f"describes tensors of {2 * 4 * size:,} bytes, and has {path.stat().st_size:,} itself",
            lambda: read_tensors(path),
        )
    )
    assert peak < 2_000_000


@pytest.mark.parametrize("part", ["net/data.pkl", "net/byteorder"])
def test_a_part_that_is_larger_than_the_file_is_refused(tmp_path, part):
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", bytes(30_000_000 if part == "net/data.pkl" else 3))
        archive.writestr("net/byteorder", bytes(30_000_000 if part == "net/byteorder" else 6))
    peak = peak_bytes(refused("is compressed", lambda: read_tensors(path)))
    assert peak < 2_000_000


def _named(pairs: bytes) -> bytes:
    """A pickle of an OrderedDict made of a list."""
    return b"\x80\x02ccollections\nOrderedDict\n]" + pairs + b"a\x85R."


# A tuple of twice the tuple before, forty times: to hash it takes 2**40 steps.
_FORTY_TUPLES = b")q\x000" + b"".join(b"h%ch%c\x86q%c0" % (i, i, i + 1) for i in range(40)) + b"h\x28"


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02}" + _FORTY_TUPLES + b"K\x01s.",
        b"\x80\x02}(" + _FORTY_TUPLES + b"K\x01u.",
        b"\x80\x02(" + _FORTY_TUPLES + b"K\x01d.",
        _named(_FORTY_TUPLES + b"K\x01\x86"),
    ],
    ids=["SETITEM", "SETITEMS", "DICT", "OrderedDict"],
)
def test_keys_that_would_take_years_to_hash_are_refused(program):
    with pytest.raises(UserError, match="a key is neither text nor a number"):
        torch_pickle.load(io.BytesIO(program), "file")


def test_what_stands_for_a_storage_is_not_put_into_words_before_it_is_looked_at():
    program = b"\x80\x02(" + _FORTY_TUPLES + b"K\x01K\x01K\x01K\x01tQ."
    with pytest.raises(UserError, match="something other than tensors"):
        torch_pickle.load(io.BytesIO(program), "file")


def test_a_list_of_storages_that_would_take_years_to_hash_is_refused(tmp_path):
    path = tmp_path / "net.pth"
    content = torch_writer.legacy_bytes({"w": View(np.zeros(1, np.float32))})
    start = content.rindex(b"\x80\x02]")
    path.write_bytes(content[:start] + b"\x80\x02]" + _FORTY_TUPLES + b"a." + bytes(99))
    with pytest.raises(UserError, match="a storage belongs to no tensor"):
        read_tensors(path)


def test_a_pickle_of_very_many_instructions_is_refused():
    program = b"\x80\x02(" + b"}" * 1_100_000 + b"l."
    with pytest.raises(UserError, match="more than 1,000,000 instructions"):
        torch_pickle.load(io.BytesIO(program), "file")


def test_a_number_of_many_digits_is_refused():
    program = b"\x80\x02\x8b" + struct.pack("<I", 100_000) + bytes([1]) * 100_000 + b"."
    with pytest.raises(UserError, match="a number is longer than any size"):
        torch_pickle.load(io.BytesIO(program), "file")


def test_numbers_of_objects_far_beyond_their_count_are_refused_in_a_long_file(tmp_path):
    """In the older format the pickle ends nobody knows where before it is read."""
    program = b"\x80\x02}r" + struct.pack("<I", 2_000_000) + b"." + bytes(3_000_000)
    peak = peak_bytes(
        refused("numbered beyond the count", lambda: torch_pickle.load(io.BytesIO(program), "file"))
    )
    assert peak < 1_000_000


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
