"""Files appear whole or not at all; run folders refuse another run's settings."""

import os

import pytest

from nas_tf.base import files
from nas_tf.base.errors import UserError
from nas_tf.base.run_folder import open_stage


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"x": 1})
    with pytest.raises(RuntimeError):
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")
    assert files.read_json(path, "file") == {"x": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_unserializable_content_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, [1])
    with pytest.raises(TypeError):
        files.write_json(path, {"x": object()})
    assert files.read_json(path, "file") == [1]


@pytest.mark.parametrize("content,message", [(b"{", "not valid JSON"), (b"\xff\xfe", "not a text file")])
def test_unreadable_json_is_named(tmp_path, content, message):
    path = tmp_path / "t.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"(?s)table.*{message}"):
        files.read_json(path, "table")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="Cannot read the table .*none.json.*No such file"):
        files.read_json(tmp_path / "none.json", "table")


def test_a_file_in_the_folder_s_place_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="Cannot write to the folder"):
        open_stage(str(tmp_path / "taken"), "train", {})


def test_other_settings_are_refused_and_named(tmp_path):
    stage = open_stage(str(tmp_path), "train", {"epochs": 3, "seed": (0, 1)})
    assert stage.summary() is None
    stage.write_summary({"top1": 0.5})
    again = open_stage(str(tmp_path), "train", {"epochs": 3, "seed": [0, 1]})
    assert again.summary() == {"top1": 0.5}
    with pytest.raises(UserError, match=r"other settings \(epochs: there 3, asked 4\)"):
        open_stage(str(tmp_path), "train", {"epochs": 4, "seed": [0, 1]})
