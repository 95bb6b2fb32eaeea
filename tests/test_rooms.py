"""Imports point one way: commands, then flags, then rooms in their order."""

import ast
import pathlib

import pytest

from benchmarks import rooms

ROOT = pathlib.Path(__file__).parent.parent
# Each room may import those before it.
ORDER = (
    "base",
    "space",
    "data",
    "distribute",
    "network",
    "latency",
    "supernet",
    "train",
    "search",
    "imported",
)
COMMANDS = {
    "nas_tf": {
        "__main__",
        "build_latency_table",
        "check_latency_table",
        "describe",
        "import_checkpoint",
        "pipeline",
    },
    "quant": {"audit", "finetune", "parity"},
    "export": {"benchmark", "convert", "evaluate", "predict", "report", "table1"},
}
# Rooms that hold a command of their name.
MAINS = {"nas_tf.search.__main__", "nas_tf.train.__main__"}


def _is_command(module: str) -> bool:
    package, *rest = module.split(".")
    return module in MAINS or len(rest) == 1 and rest[0] in COMMANDS.get(package, ())


def _packages_imported(path: pathlib.Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_every_room_is_known():
    found = {rooms.room(name) for name in rooms.modules(ROOT, "nas_tf") if name.count(".")}
    assert found == set(ORDER) | COMMANDS["nas_tf"]


def test_rooms_import_only_rooms_before_them():
    graph = rooms.arrows(rooms.imports(ROOT, "nas_tf"))
    for index, name in enumerate(ORDER):
        assert graph[name] <= set(ORDER[:index]), name
    for command in COMMANDS["nas_tf"]:
        assert graph[command] <= set(ORDER), command


@pytest.mark.parametrize("package", ["nas_tf", "quant", "export", "flags"])
def test_no_modules_import_each_other(package):
    assert rooms.circles(rooms.imports(ROOT, package)) == []


@pytest.mark.parametrize(
    "package,allowed",
    [
        ("nas_tf", set()),
        ("quant", {"nas_tf"}),
        ("export", {"nas_tf", "quant"}),
        ("flags", {"nas_tf", "quant", "export"}),
    ],
)
def test_packages_point_one_way(package, allowed):
    ours = {"nas_tf", "quant", "export", "flags", "tests", "benchmarks"}
    for module, path in rooms.modules(ROOT, package).items():
        extra = (_packages_imported(path) & ours) - allowed - {package}
        if _is_command(module):
            extra -= {"flags"}
        if module == "nas_tf.pipeline":  # runs the stages of all packages
            extra -= {"export"}
        assert not extra, module


def test_circles_and_floors_of_a_small_graph():
    diamond = {"a": {"b", "c"}, "b": {"d"}, "c": set(), "d": set()}
    assert rooms.circles(diamond) == [] and rooms.floors(diamond) == {"d": 0, "c": 0, "b": 1, "a": 2}
    assert rooms.circles({**diamond, "d": {"a"}}) == [["a", "b", "d"]]
    assert rooms.floors({"a": {"a"}}) == {}


def test_imports_are_found_wherever_they_stand(tmp_path):
    (tmp_path / "toy/inner").mkdir(parents=True)
    (tmp_path / "toy/__init__.py").write_text("")
    (tmp_path / "toy/low.py").write_text("import os\n")
    (tmp_path / "toy/inner/__init__.py").write_text("")
    (tmp_path / "toy/inner/late.py").write_text("def f():\n    from toy import low\n    return low\n")
    (tmp_path / "toy/inner/name.py").write_text("from toy.low import os\nimport toy.inner.late\n")
    found = rooms.imports(tmp_path, "toy")
    assert found["toy.inner.late"] == {"toy.low"} and found["toy.inner.name"] == {"toy.low", "toy.inner.late"}
    assert rooms.arrows(found) == {"inner": {"low"}, "low": set()}
