"""Small changes of Python source, found through its syntax tree: what a mutation tester tries.

A change is a span of bytes and what stands there instead, so that all else, comments included,
stays as it is.
"""

import ast
import dataclasses
import hashlib
import itertools
import pathlib
import re
from collections.abc import Iterator

_COMPARISONS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_ARITHMETIC = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
}
_NAMES = {
    "min": "max",
    "argmin": "argmax",
    "minimum": "maximum",
    "floor": "ceil",
    "any": "all",
    "reduce_min": "reduce_max",
    "reduce_sum": "reduce_mean",
    "sum": "mean",
    "zeros_like": "ones_like",
    "zeros": "ones",
    "sorted": "list",
    "cos": "sin",
    "log": "log1p",
    "rsqrt": "sqrt",
}
_NAMES |= {new: old for old, new in _NAMES.items() if new not in ("list", "log1p")}
# Calls whose first argument may stand alone.
_WRAPPERS = {
    "clip",
    "round",
    "abs",
    "stop_gradient",
    "floor",
    "sqrt",
    "exp",
    "max",
    "min",
    "maximum",
    "minimum",
    "reversed",
    "softmax",
    "float",
    "to_network_input",
}
# Keywords without which nothing changes but how soon a mistake is noticed, or how fast it is.
_GUARDS = {"strict", "name", "jit_compile", "reduce_retracing", "watch_accessed_variables"}


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
      path: relative to the root of the sources.
      kind: of change; "by hand" for those that were chosen.
      start, end: the span, in bytes.
      line: 1-based, where the span starts.
      label: in words, for those chosen by hand.
    """

    path: str
    kind: str
    start: int
    end: int
    new: bytes
    line: int
    label: str = ""

    def apply(self, source: bytes) -> bytes:
        """The changed file."""
        return source[: self.start] + self.new + source[self.end :]

    def lines(self, source: bytes) -> tuple[str, str]:
        """(lines of the span before, after), whole and stripped."""
        first = source.rfind(b"\n", 0, self.start) + 1
        last = source.find(b"\n", self.end)
        last = len(source) if last < 0 else last
        after = source[first : self.start] + self.new + source[self.end : last]
        return source[first:last].decode().strip(), after.decode().strip()

    def rank(self, source: bytes, seed: int) -> bytes:
        """A number at random, the same wherever in the sources the lines stand."""
        text = "\0".join((str(seed), pathlib.Path(self.path).name, self.kind, *self.lines(source)))
        return hashlib.sha256(text.encode()).digest()


def all_mutants(path: str, source: bytes) -> list[Mutant]:
    """Every change that the operators know, each once, none of which fails to parse."""
    found: dict[bytes, Mutant] = {}
    finder = _Finder(source)
    for kind, start, end, new in finder.changes():
        mutant = Mutant(path, kind, start, end, new, source[:start].count(b"\n") + 1)
        changed = mutant.apply(source)
        # Two operators may come to the same text.
        if changed not in found and _parses(changed):
            found[changed] = mutant
    return list(found.values())


def draw(mutants: list[Mutant], source: bytes, seed: int, count: int) -> list[Mutant]:
    """`count` of a file's mutants at random, kinds in turn, at most one per span."""
    ranked = sorted(mutants, key=lambda m: m.rank(source, seed))
    kinds: dict[str, list[Mutant]] = {}
    for mutant in ranked:
        kinds.setdefault(mutant.kind, []).append(mutant)
    taken: dict[tuple[int, int], Mutant] = {}
    for mutant in filter(None, itertools.chain(*itertools.zip_longest(*kinds.values()))):
        if len(taken) < count:
            taken.setdefault((mutant.start, mutant.end), mutant)
    return sorted(taken.values(), key=lambda m: m.start)


def shares(lines: dict[str, int], total: int, least: int) -> dict[str, int]:
    """How many of `total` each file gets: at least `least`, the rest by its lines."""
    everything = sum(lines.values())
    return {path: max(least, round(total * count / everything)) for path, count in lines.items()}


def replacement(path: str, source: bytes, old: str, new: str, label: str) -> Mutant:
    """A mutant by regular expression; `ValueError` unless it matches exactly once."""
    matches = list(re.finditer(old, source.decode()))
    # Otherwise a change of the sources would quietly move or drop the mutant.
    if len(matches) != 1:
        raise ValueError(f"{path}: {label!r} matches {len(matches)} times and not once.")
    match = matches[0]
    before = source.decode()[: match.start()].encode()
    span = match.group().encode()
    return Mutant(
        path,
        "by hand",
        len(before),
        len(before) + len(span),
        match.expand(new).encode(),
        before.count(b"\n") + 1,
        label,
    )


def _parses(source: bytes) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


class _Finder:
    """Walks a tree and yields (kind, start, end, new bytes)."""

    def __init__(self, source: bytes):
        self._source = source
        # `ast` counts columns in bytes of UTF-8, so everything here counts bytes.
        self._starts = [0, *(i + 1 for i, byte in enumerate(source) if byte == 10)]

    def changes(self) -> Iterator[tuple[str, int, int, bytes]]:
        """All changes, in no order."""
        yield from self._walk(ast.parse(self._source))

    def _walk(self, node: ast.AST) -> Iterator:
        for method in _BY_TYPE.get(type(node), ()):
            yield from method(self, node)
        for child in _children(node):
            yield from self._walk(child)

    def _span(self, node: ast.AST) -> tuple[int, int]:
        return (
            self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def _text(self, node: ast.AST) -> bytes:
        return self._source[slice(*self._span(node))]

    def _between(self, kind: str, left: ast.AST, right: ast.AST, old: str, new: str) -> Iterator:
        """An operator between two nodes, parentheses and line ends around it kept."""
        start, end = self._span(left)[1], self._span(right)[0]
        # "is not" and "not in" may have more than one space, or a line end, between their words.
        pattern = re.escape(old).replace(r"\ ", r"\s+")
        changed = re.sub(pattern.encode(), new.encode(), self._source[start:end], count=1)
        yield kind, start, end, changed

    def _compare(self, node: ast.Compare) -> Iterator:
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands[:-1], node.ops, operands[1:], strict=True):
            yield from self._between("comparison", left, right, *_COMPARISONS[type(operator)])

    def _binary(self, node: ast.BinOp) -> Iterator:
        # Lists and texts can be added and not subtracted: any test would notice.
        texts = (ast.JoinedStr, ast.List, ast.Tuple, ast.Dict)
        if (
            type(node.op) in _ARITHMETIC
            and not isinstance(node.left, texts)
            and not isinstance(node.right, texts)
        ):
            yield from self._between("arithmetic", node.left, node.right, *_ARITHMETIC[type(node.op)])

    def _boolean(self, node: ast.BoolOp) -> Iterator:
        new = b" or " if isinstance(node.op, ast.And) else b" and "
        yield (
            "boolean",
            *self._span(node),
            b"(" + new.join(b"(" + self._text(v) + b")" for v in node.values) + b")",
        )

    def _unary(self, node: ast.UnaryOp) -> Iterator:
        if isinstance(node.op, (ast.Not, ast.USub)):
            yield "sign or not dropped", *self._span(node), b"(" + self._text(node.operand) + b")"

    def _constant(self, node: ast.Constant) -> Iterator:
        # First, because True is also an int.
        if isinstance(node.value, bool):
            yield "constant", *self._span(node), str(not node.value).encode()
        elif isinstance(node.value, (int, float)):
            for new in (node.value + 1, node.value - 1):
                yield "constant", *self._span(node), f"({new!r})".encode()

    def _condition(self, node) -> Iterator:
        yield ("condition", *self._span(node.test), b"not (" + self._text(node.test) + b")")

    def _choice(self, node: ast.IfExp) -> Iterator:
        for branch in (node.body, node.orelse):
            yield "one branch", *self._span(node), b"(" + self._text(branch) + b")"

    def _filter(self, node: ast.comprehension) -> Iterator:
        for test in node.ifs:
            yield "condition", *self._span(test), b"not (" + self._text(test) + b")"

    def _call(self, node: ast.Call) -> Iterator:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in _NAMES:
            end = self._span(node.func)[1]
            yield "function", end - len(name), end, _NAMES[name].encode()
        # Its second argument is a message, which no test of behaviour has to notice.
        if name == "require":
            return
        plain = [a for a in node.args if not isinstance(a, ast.Starred)]
        if name in _WRAPPERS and plain and plain[0] is node.args[0]:
            yield "call dropped", *self._span(node), b"(" + self._text(plain[0]) + b")"
        elif name in _WRAPPERS and not node.args and isinstance(node.func, ast.Attribute):
            yield "call dropped", *self._span(node), self._text(node.func.value)
        for left, right in itertools.pairwise(plain):
            start, end = self._span(left)[0], self._span(right)[1]
            middle = self._source[self._span(left)[1] : self._span(right)[0]]
            if self._text(left) != self._text(right):
                yield ("arguments swapped", start, end, self._text(right) + middle + self._text(left))
        yield from self._keywords(node)

    def _keywords(self, node: ast.Call) -> Iterator:
        parts = [*node.args, *(k.value for k in node.keywords)]
        for index, keyword in enumerate(node.keywords, len(node.args)):
            # It goes with the comma before it, so the first argument of a call has to stay.
            if keyword.arg and keyword.arg not in _GUARDS and index:
                yield "keyword dropped", self._span(parts[index - 1])[1], self._span(keyword)[1], b""

    def _attribute(self, node: ast.Attribute) -> Iterator:
        if node.attr == "T":
            yield "transpose dropped", *self._span(node), self._text(node.value)

    def _statement(self, node: ast.stmt) -> Iterator:
        yield "statement dropped", *self._span(node), b"pass"

    def _call_statement(self, node: ast.Expr) -> Iterator:
        if isinstance(node.value, (ast.Call, ast.YieldFrom)):
            yield from self._statement(node)

    def _assignment(self, node: ast.Assign) -> Iterator:
        """Only to what had a value before, as far as can be seen."""
        used = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
        if all(
            isinstance(t, (ast.Attribute, ast.Subscript)) or isinstance(t, ast.Name) and t.id in used
            for t in node.targets
        ):
            yield from self._statement(node)

    def _exit(self, node: ast.If) -> Iterator:
        """An early return, a refusal: the whole of it."""
        if (
            len(node.body) == 1
            and not node.orelse
            and isinstance(node.body[0], (ast.Return, ast.Raise, ast.Continue))
        ):
            yield from self._statement(node)

    def _augmented(self, node: ast.AugAssign) -> Iterator:
        if type(node.op) in _ARITHMETIC and not isinstance(node.value, (ast.List, ast.Tuple)):
            yield from self._between("arithmetic", node.target, node.value, *_ARITHMETIC[type(node.op)])
        yield from self._statement(node)

    def _loop(self, node: ast.For) -> Iterator:
        last = node.body[-1]
        # Only after a simple statement may another stand on the same line.
        if isinstance(last, (ast.Expr, ast.Assign, ast.AugAssign)):
            end = self._span(last)[1]
            yield "loop left after one round", end, end, b"; break"

    def _function(self, node: ast.FunctionDef) -> Iterator:
        body = [s for s in node.body if not _is_docstring(s)]
        yielding = any(isinstance(n, (ast.Return, ast.Yield)) for n in ast.walk(node))
        # Where something is returned or yielded, this would hardly go unnoticed.
        if body and not yielding and node.name != "__init__":
            start = self._span(body[0])[0]
            yield "returned early", start, start, b"return; "


_BY_TYPE = {
    ast.Compare: (_Finder._compare,),
    ast.BinOp: (_Finder._binary,),
    ast.BoolOp: (_Finder._boolean,),
    ast.UnaryOp: (_Finder._unary,),
    ast.Constant: (_Finder._constant,),
    ast.If: (_Finder._condition, _Finder._exit),
    ast.While: (_Finder._condition,),
    ast.IfExp: (_Finder._condition, _Finder._choice),
    ast.comprehension: (_Finder._filter,),
    ast.Call: (_Finder._call,),
    ast.Attribute: (_Finder._attribute,),
    ast.Expr: (_Finder._call_statement,),
    ast.Assign: (_Finder._assignment,),
    ast.AugAssign: (_Finder._augmented,),
    ast.Raise: (_Finder._statement,),
    ast.For: (_Finder._loop,),
    ast.FunctionDef: (_Finder._function,),
}


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """What can be changed below a node: no annotations, docstrings, decorators nor messages."""
    # Words of messages, and imports: to change them says nothing about behaviour.
    if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom)):
        return
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
        yield node.args[0]
        return
    skipped = {"annotation", "returns", "decorator_list", "bases"}
    for name, value in ast.iter_fields(node):
        if name in skipped:
            continue
        for child in value if isinstance(value, list) else [value]:
            guard = isinstance(child, ast.keyword) and child.arg in _GUARDS
            if isinstance(child, ast.AST) and not guard and not _is_docstring(child):
                yield child
