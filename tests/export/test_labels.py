"""Labels and other entries inside a file, and label files that are not overwritten."""

import zipfile

import pytest

from export import archive, labels
from nas_tf.base.errors import UserError


@pytest.fixture(name="file")
def file_fixture(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(200))
    return path


def test_a_label_is_a_line_even_if_it_has_two():
    assert labels.text_of(("tench", "great\nwhite", "")) == "tench\ngreat white\n\n"


def test_entries_come_back_and_leave_the_file_in_front(file):
    before = file.read_bytes()
    labels.append(file, ("a", "Größe"))
    archive.append(file, "note.json", "{}")
    assert file.read_bytes()[: len(before)] == before
    assert labels.read_appended(file) == ("a", "Größe")
    assert archive.read(file, "note.json", 10) == "{}"
    assert archive.read(file, "absent", 10) is None and labels.read_appended(file, "other.txt") is None


def test_the_same_entries_are_the_same_bytes(file, tmp_path):
    other = tmp_path / "n.tflite"
    other.write_bytes(file.read_bytes())
    for path in (file, other):
        labels.append(path, ("a", "b"))
    assert file.read_bytes() == other.read_bytes()


def test_a_file_without_archive_has_no_entries(file):
    assert archive.read(file, labels.FILE_NAME, 10) is None


def test_an_entry_may_be_as_long_as_allowed_and_no_longer(file):
    archive.append(file, "note", "12345")
    assert archive.read(file, "note", 5) == "12345"
    with pytest.raises(UserError, match="The entry 'note' inside .* is longer than 4 bytes"):
        archive.read(file, "note", 4)


def test_text_that_is_not_utf_8_and_damaged_entries_are_refused(file):
    with zipfile.ZipFile(file, "a") as opened:
        opened.writestr("latin", "é".encode("latin-1"))
        opened.writestr("whole", b"abcdefgh")
    with pytest.raises(UserError, match="The entry 'latin' inside .* is damaged: .*utf-8"):
        archive.read(file, "latin", 100)
    file.write_bytes(file.read_bytes().replace(b"abcdefgh", b"abXdefgh", 1))
    with pytest.raises(UserError, match="The entry 'whole' inside .* is damaged: Bad CRC"):
        archive.read(file, "whole", 100)


def test_where_label_files_lie(file):
    assert labels.path_beside(file, alone=True) == file.parent / "labels.txt"
    assert labels.path_beside(file, alone=False) == file.parent / "m_labels.txt"


def test_other_labels_are_not_overwritten(tmp_path):
    path = tmp_path / "labels.txt"
    labels.check_writable(path, ("a", "b"))
    labels.write(path, ("a", "b"))
    labels.check_writable(path, ("a", "b"))
    with pytest.raises(UserError, match="exists and holds other labels; name another --output or remove it"):
        labels.check_writable(path, ("b", "a"))
    with pytest.raises(UserError, match="Cannot read the label file"):
        labels.check_writable(tmp_path, ("a",))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_entry_that_could_ask_for_gigabytes_to_be_unpacked_is_refused(file, method):
    with zipfile.ZipFile(file, "a") as written:
        written.writestr("labels.txt", "a\nb\n", method)
    with pytest.raises(UserError, match="'labels.txt' inside .* is packed in a way that is not read"):
        labels.read_appended(file)


def test_a_damaged_packed_entry_is_refused(file):
    with zipfile.ZipFile(file, "a") as written:
        written.writestr("labels.txt", "a\nb\n" * 9, zipfile.ZIP_DEFLATED)
    content = bytearray(file.read_bytes())
    start = content.index(b"labels.txt") + len("labels.txt")
    content[start : start + 4] = b"\xff\xff\xff\xff"  # a kind of block that there is not
    file.write_bytes(content)
    with pytest.raises(UserError, match="'labels.txt' inside .* is damaged: Error -3"):
        labels.read_appended(file)
