"""Imports point one way: between packages, between the rooms of nas_tf, and between modules.

Imports inside functions count as well: moved there, a circle is only hidden.
"""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = ("nas_tf", "quant", "export")  # each may import from those before it
ROOMS = ("base", "space", "data", "network", "latency", "supernet", "train", "search", "imported")


def _modules() -> dict[str, pathlib.Path]:
    found = {}
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imported(path: pathlib.Path) -> set[str]:
    """Dotted names that a file imports anywhere; of `from a import b`, both a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """Module → the project's modules that it imports; a package stands for its `__init__` alone."""
    modules = _modules()
    found = {name: _imported(path) & modules.keys() for name, path in modules.items()}
    return {
        name: {other for other in others if not any(third.startswith(f"{other}.") for third in others)}
        for name, others in found.items()
    }


def _room(module: str) -> str | None:
    """A module's room; None for commands and for other packages."""
    parts = module.split(".")
    return parts[1] if parts[0] == "nas_tf" and len(parts) > 2 else None


def test_rooms_are_all_known(imports):
    assert {_room(name) for name in imports} - {None} == set(ROOMS)


def test_rooms_import_from_earlier_rooms_alone(imports):
    backwards = [
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in others
        if _room(name) and _room(other) and ROOMS.index(_room(name)) < ROOMS.index(_room(other))
    ]
    assert not backwards


def test_packages_import_from_earlier_packages_alone(imports):
    def place(module: str) -> int:
        return PACKAGES.index(module.split(".")[0])

    backwards = [
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in others
        if place(name) < place(other) and name != "nas_tf.pipeline"  # the command of the whole
    ]
    assert not backwards


def test_no_module_imports_itself_through_others(imports):
    reached = {name: set(others) for name, others in imports.items()}
    for middle in imports:  # Warshall's transitive closure
        for others in reached.values():
            if middle in others:
                others |= reached[middle]
    assert not [name for name, others in reached.items() if name in others]
