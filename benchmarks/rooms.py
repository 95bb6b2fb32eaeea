"""The rooms of a package: how many, on how many floors, joined by how many arrows, in circles or not.

    python -m benchmarks.rooms
    python -m benchmarks.rooms --root=../an-older-checkout

A room is a module at the package's root or a package directly below it. An arrow says that a module of
one room imports one of another, inside a function too. A room's floor is the number of arrows below it.
"""

import argparse
import ast
import graphlib
import pathlib
from collections.abc import Iterator, Mapping

Arrows = Mapping[str, set[str]]


def modules(root: pathlib.Path, package: str) -> dict[str, pathlib.Path]:
    """Dotted name → file of every module of a package; a package's own name is its `__init__`."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: pathlib.Path, package: str) -> dict[str, set[str]]:
    """Module → modules of the same package that it imports anywhere in its text."""
    known = modules(root, package)
    result = {}
    for name, path in known.items():
        targets = set(_imported(ast.parse(path.read_text(encoding="utf-8")), known))
        result[name] = targets - {name}
    return result


def _imported(tree: ast.AST, known: Mapping[str, pathlib.Path]) -> Iterator[str]:
    # Everywhere in the tree: an import inside of a function is an arrow like any other.
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                # `from package import module`, or a name out of a module.
                inner = f"{node.module}.{alias.name}"
                yield from (name for name in (inner if inner in known else node.module,) if name in known)


def room(module: str) -> str:
    """The room that a module lies in: `nas_tf.data.order` lies in `data`."""
    return module.split(".")[1]


def arrows(imported: Arrows) -> dict[str, set[str]]:
    """Room → other rooms that its modules import."""
    result: dict[str, set[str]] = {}
    for module, targets in imported.items():
        # The package's own `__init__` lies in no room.
        if module.count("."):
            inside = {room(target) for target in targets if target.count(".")}
            result.setdefault(room(module), set()).update(inside - {room(module)})
    return result


def circles(graph: Arrows) -> list[list[str]]:
    """Groups of nodes that reach each other."""
    reached = {node: _reach(node, graph) for node in graph}
    groups = {
        tuple(sorted(other for other in reached[node] if node in reached.get(other, ())))
        for node in graph
        if node in reached[node]
    }
    return sorted(map(list, groups))


def floors(graph: Arrows) -> dict[str, int]:
    """Node → the longest way down from it; empty if there is a circle."""
    # A way around a circle has no end, and so none is the longest.
    if circles(graph):
        return {}
    floor: dict[str, int] = {}
    for node in graphlib.TopologicalSorter(graph).static_order():
        floor[node] = 1 + max((floor[below] for below in graph.get(node, ())), default=-1)
    return floor


def _reach(start: str, graph: Arrows) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph.get(start, ()))
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += graph.get(node, ())
    return seen


def main() -> None:
    """Prints the figures and, floor by floor, the rooms with their arrows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parent.parent, type=pathlib.Path)
    parser.add_argument("--package", default="nas_tf")
    arguments = parser.parse_args()
    imported = imports(arguments.root, arguments.package)
    graph = arrows(imported)
    floor = floors(graph)
    height = f"{max(floor.values()) + 1} floors" if floor else "no floors, since there are circles of rooms"
    print(f"{len(graph)} rooms, {height}, {sum(map(len, graph.values()))} arrows")
    for name in sorted(graph, key=lambda name: (floor.get(name, 0), name)):
        print(f"  {floor.get(name, '-')}  {name} → {', '.join(sorted(graph[name])) or 'nothing'}")
    for label, found in (("rooms", circles(graph)), ("modules", circles(imported))):
        print(f"circles of {label}: {'; '.join(' → '.join(group) for group in found) or 'none'}")


if __name__ == "__main__":
    main()
