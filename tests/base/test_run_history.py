"""The lines that say which commands worked on a run."""

import json

import pytest

from nas_tf.base import run_history
from nas_tf.base.run_folder import open_stage


@pytest.fixture(autouse=True)
def _as_a_command(monkeypatch):
    monkeypatch.setattr(run_history._Noting, "on", False)
    monkeypatch.setattr(run_history.stopping, "command", lambda: "python -m nas_tf.train --workdir='a b'")


def test_only_commands_are_noted_and_only_while_there_is_work(tmp_path):
    open_stage(tmp_path, "search", {})
    assert run_history.read(tmp_path) == [] and not (tmp_path / run_history.FILE).exists()
    run_history.begin()
    stage = open_stage(tmp_path, "train", {"seed": 0})
    open_stage(tmp_path, "train", {"seed": 0})  # the same command again: it goes on
    stage.write_summary({"top1": 0.5})
    open_stage(tmp_path, "train", {"seed": 0})  # nothing left to do
    lines = run_history.read(tmp_path)
    assert [line["stage"] for line in lines] == ["train", "train"]
    assert {line["command"] for line in lines} == {"python -m nas_tf.train --workdir='a b'"}
    assert lines[0]["versions"] == run_history.versions() and "tensorflow" in lines[0]["versions"]
    assert lines[0]["date"].endswith("+00:00") and lines[0]["date"] <= lines[1]["date"]


def test_what_cannot_be_read_is_left_out(tmp_path):
    good = {"date": "2020-01-01T00:00:00+00:00", "stage": "train", "command": "x", "versions": {"a": "1"}}
    bad = [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[1]",
        json.dumps(good | {"versions": {"a": 1}}).encode(),
        json.dumps(good | {"versions": None}).encode(),
        json.dumps(good | {"command": ["x"]}).encode(),
        json.dumps({k: v for k, v in good.items() if k != "date"}).encode(),
    ]
    path = tmp_path / run_history.FILE
    path.write_bytes(b"\n".join([*bad, json.dumps(good | {"more": 1}).encode(), *bad]))
    assert run_history.read(tmp_path) == [good]
    path.unlink()
    path.mkdir()
    assert run_history.read(tmp_path) == []
