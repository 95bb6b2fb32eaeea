"""A stage's folder: one process at a time, other settings named, and where it may lie."""

import ast
import pathlib
import subprocess
import sys

import pytest

from nas_tf.base import files, run_folder
from nas_tf.base.errors import UserError
from nas_tf.base.run_folder import CONVERT, SEARCH, STAGES, TRAIN, RunFolder, open_stage

_OPEN = """
import sys
from nas_tf.base.run_folder import open_stage
from nas_tf.base.errors import UserError
try:
    open_stage(sys.argv[1], "stage", {"a": 1})
except UserError as error:
    sys.exit(str(error))
print("open", flush=True)
sys.stdin.read()
"""


def _other_process(workdir):
    return subprocess.Popen(
        [sys.executable, "-c", _OPEN, str(workdir)],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    with _other_process(tmp_path) as first:
        assert first.stdout.readline() == "open\n"
        with pytest.raises(UserError, match="Another process works in the folder"):
            open_stage(str(tmp_path), "stage", {"a": 1})
        open_stage(str(tmp_path), "other_stage", {"a": 1})
        first.kill()
        first.wait()
    open_stage(str(tmp_path), "stage", {"a": 1})
    open_stage(str(tmp_path), "stage", {"a": 1})  # the same process may


def test_other_settings_are_named_however_deep(tmp_path):
    open_stage(str(tmp_path), "stage", {"data": {"dataset": "x" * 80, "size": 1}, "b": None})
    with pytest.raises(UserError, match=r"other settings \(data\.size: there 1, asked 2\)"):
        open_stage(str(tmp_path), "stage", {"data": {"dataset": "x" * 80, "size": 2}, "b": None})


@pytest.mark.parametrize("workdir", ["", " "])
def test_an_empty_name_is_refused(workdir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--workdir is empty"):
        open_stage(workdir, "stage", {})
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "taken").write_text("precious")
    with pytest.raises(UserError, match="Cannot write to the folder '.*taken': it is a file"):
        files.check_writable(tmp_path / "taken" / "x.json")
    with pytest.raises(UserError, match="Cannot write the file '.*': it is a folder"):
        files.write_json(tmp_path, {})
    assert (tmp_path / "taken").read_text() == "precious"


NEWER = {"data.names": "match", "blocks.1.shortcut": True, "mean": ()}
OLD = {"data": {"dataset": "x"}, "blocks": [{"width": 8, "shortcut": True}, {"width": 16}]}


def _asked(names="match", shortcut=True, mean=()):
    return {
        "data": {"dataset": "x", "names": names},
        "blocks": [{"width": 8, "shortcut": True}, {"width": 16, "shortcut": shortcut}],
        "mean": mean,
    }


def _older_run(tmp_path):
    (tmp_path / "stage").mkdir()
    files.write_json(tmp_path / "stage" / "settings.json", OLD)


def test_a_run_from_before_a_setting_existed_is_one_at_its_default(tmp_path):
    _older_run(tmp_path)
    open_stage(str(tmp_path), "stage", _asked(), NEWER)
    assert files.read_json(tmp_path / "stage" / "settings.json", "settings") == OLD


@pytest.mark.parametrize(
    "change, message",
    [
        ({"names": "ignore"}, 'data.names: there "match", asked "ignore"'),
        ({"shortcut": False}, "blocks.1.shortcut: there true, asked false"),
        ({"mean": (0.5,)}, r"mean: there \[\], asked \[0.5\]"),
    ],
)
def test_a_run_from_before_a_setting_existed_is_none_at_another_value(tmp_path, change, message):
    _older_run(tmp_path)
    with pytest.raises(UserError, match=rf"other settings \({message}\)"):
        open_stage(str(tmp_path), "stage", _asked(**change), NEWER)


def test_a_held_value_counts_and_not_the_default(tmp_path):
    open_stage(str(tmp_path), "stage", _asked(names="ignore"), NEWER)
    open_stage(str(tmp_path), "stage", _asked(names="ignore"), NEWER)
    with pytest.raises(UserError, match='data.names: there "ignore", asked "match"'):
        open_stage(str(tmp_path), "stage", _asked(), NEWER)


def test_a_setting_that_is_not_newer_has_no_default(tmp_path):
    _older_run(tmp_path)
    with pytest.raises(UserError, match='data.names: there null, asked "match"'):
        open_stage(str(tmp_path), "stage", _asked(), {"blocks.1.shortcut": True, "mean": ()})


def test_blocks_are_named_one_by_one(tmp_path):
    open_stage(str(tmp_path), "stage", {"blocks": [{"width": 8}, {"width": 16}]})
    with pytest.raises(UserError, match=r"\(blocks.1.width: there 16, asked 24\)"):
        open_stage(str(tmp_path), "stage", {"blocks": [{"width": 8}, {"width": 24}]})
    with pytest.raises(UserError, match=r"\(blocks.1.width: there 16, asked null\)"):
        open_stage(str(tmp_path), "stage", {"blocks": [{"width": 8}]})


def test_the_layout_of_a_run():
    """People and older run folders know these names."""
    run = RunFolder("runs/a")
    assert STAGES == (
        "build_latency_table",
        "search",
        "train",
        "finetune",
        "convert",
        "evaluate",
        "benchmark",
    )
    found = {
        path.as_posix()
        for path in (
            run.latency_table,
            run.searched_architecture,
            run.stage(SEARCH).candidates,
            run.float_model,
            run.stage(TRAIN).architecture,
            run.stage(TRAIN).settings_path,
            run.stage(TRAIN).summary_path,
            run.qat_model,
            run.int8_file,
            run.stage(CONVERT).float_file,
            run.report,
        )
    }
    assert found == {
        "runs/a/build_latency_table/latency_table.json",
        "runs/a/search/architecture.json",
        "runs/a/search/candidates.json",
        "runs/a/train/model",
        "runs/a/train/architecture.json",
        "runs/a/train/settings.json",
        "runs/a/train/summary.json",
        "runs/a/finetune/model",
        "runs/a/convert/model_int8.tflite",
        "runs/a/convert/model_float32.tflite",
        "runs/a/report.html",
    }


def _literals(path: pathlib.Path) -> set[str]:
    """Strings of a module that are not docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
    }  # a string that stands alone
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented
    }


def test_no_other_module_spells_the_names_of_files():
    names = {
        "latency_table.json",
        "architecture.json",
        "candidates.json",
        "model_int8.tflite",
        "model_float32.tflite",
        "report.html",
        "settings.json",
        "summary.json",
        "train/model",
        "finetune/model",
    }
    owner = pathlib.Path(run_folder.__file__)
    root = owner.parents[2]
    rooms = [path for room in ("nas_tf", "quant", "export") for path in (root / room).rglob("*.py")]
    assert owner in rooms
    spelled = {
        path.relative_to(root).as_posix(): sorted(names & _literals(path)) for path in rooms if path != owner
    }
    assert {path: found for path, found in spelled.items() if found} == {}


def test_a_run_folder_needs_no_tensorflow_and_no_other_room():
    loads = (
        "import sys, nas_tf.base.run_folder, nas_tf.base.clock; "
        "print(sorted(m for m in sys.modules if m.split('.')[0] in "
        "('tensorflow', 'tf_keras', 'numpy', 'quant', 'export') "
        "or m.startswith('nas_tf.') and not m.startswith('nas_tf.base')))"
    )
    done = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
