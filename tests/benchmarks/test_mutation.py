"""The mutation tester on a module of a few lines."""

import ast

import pytest

from benchmarks import mutation, mutation_table
from benchmarks.mutation import KILLED, SURVIVED, TIMED_OUT, Settings, Tester
from benchmarks.mutation_operators import all_mutants, draw, replacement, shares

_MODULE = '''"""Zwei Funktionen · two functions."""


def minus(a, b):
    """a − b"""
    return a - b  # a comment


def untested(a):
    return a < 3


def counts(n):
    while n > 0:
        n -= 1
    return n
'''
_TESTS = """from toy.module import counts, minus


def test_difference():
    assert minus(5, 3) == 2


def test_counts():
    assert counts(2) == 0


def test_takes_long():
    assert minus(3, 3) == 0
"""


@pytest.fixture
def tester(tmp_path):
    root = tmp_path / "root"
    for path, text in (("toy/__init__.py", ""), ("toy/module.py", _MODULE), ("tests/test_toy.py", _TESTS)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    made = Tester(
        root, {"toy/module.py": ("tests/test_*.py",)}, tmp_path / "out.jsonl", tmp_path / "seat", Settings()
    )
    made.check_unchanged("toy/module.py")
    return made


def mutant(tester, old, new):
    return replacement("toy/module.py", tester.source("toy/module.py"), old, new, "by hand")


def test_a_mutant_of_a_tested_function_is_killed_and_the_source_stays(tester):
    record = tester.judge(mutant(tester, "a - b ", "a + b "))
    assert (record["verdict"], record["by"]) == (KILLED, "tests/test_toy.py::test_difference")
    assert tester.source("toy/module.py").decode() == _MODULE
    # The copy is whole again: what the tests do not see survives, after and before.
    assert tester.judge(mutant(tester, "a < 3", "a <= 3"))["verdict"] == SURVIVED


@pytest.mark.slow
def test_forked_and_fresh_processes_agree(tester):
    for old, new in (("a - b ", "b - a "), ("a < 3", "a > 3"), ("def minus", "def other")):
        changed = mutant(tester, old, new)
        forked, fresh = tester.judge(changed), tester.judge(changed, fresh=True)
        assert (forked["verdict"], forked["by"]) == (fresh["verdict"], fresh["by"])


def test_an_endless_loop_is_out_of_time(tester, monkeypatch):
    real = mutation._wait
    monkeypatch.setattr(mutation, "_wait", lambda child, limit_s: real(child, 2.0))
    assert tester.judge(mutant(tester, "n -= 1", "n -= 0"))["verdict"] == TIMED_OUT


@pytest.mark.slow
def test_a_verdict_is_kept_until_file_or_tests_change(tester, tmp_path, monkeypatch):
    changed, survivor = mutant(tester, "a - b ", "a + b "), mutant(tester, "a < 3", "a <= 3")
    tester.judge(changed), tester.judge(survivor)

    def later():
        return Tester(
            tester.root,
            {"toy/module.py": ("tests/test_*.py",)},
            tmp_path / "out.jsonl",
            tmp_path / f"seat{len(list(tmp_path.iterdir()))}",
        )

    again = later()
    monkeypatch.setattr(again._seat, "run", None)
    assert again.judge(changed)["verdict"] == KILLED
    assert again.judge(survivor)["verdict"] == SURVIVED
    (tester.root / "tests/test_toy.py").write_text(
        _TESTS + "\n\ndef test_bound():\n    from toy.module import untested\n    assert not untested(3)\n",
        encoding="utf-8",
    )
    again = later()
    again.check_unchanged("toy/module.py")
    assert again.judge(survivor)["verdict"] == KILLED
    assert "killed" in mutation.table([again.judge(survivor)])


@pytest.mark.slow
def test_tests_that_fail_unchanged_are_refused(tester, tmp_path):
    (tester.root / "tests/test_toy.py").write_text("def test_no():\n    assert False\n", encoding="utf-8")
    broken = Tester(
        tester.root, {"toy/module.py": ("tests/test_*.py",)}, tmp_path / "other.jsonl", tmp_path / "other"
    )
    with pytest.raises(RuntimeError, match="test_no"):
        broken.check_unchanged("toy/module.py")
    left_out = Tester(
        tester.root,
        {"toy/module.py": ("tests/test_*.py",)},
        tmp_path / "other.jsonl",
        tmp_path / "more",
        Settings(left_out=("tests/test_toy.py::test_no",)),
    )
    with pytest.raises(RuntimeError, match="no tests for toy/module.py"):
        left_out.check_unchanged("toy/module.py")


def test_a_replacement_has_to_match_once():
    with pytest.raises(ValueError, match="matches 2 times"):
        replacement("m.py", b"a = 1\nb = 1\n", "1", "2", "twice")
    with pytest.raises(ValueError, match="matches 0 times"):
        replacement("m.py", b"a = 1\n", "3", "2", "never")


def test_every_change_parses_and_differs_in_its_span_alone():
    source = _MODULE.encode()
    mutants = all_mutants("module.py", source)
    tree = ast.dump(ast.parse(source))
    for one in mutants:
        changed = one.apply(source)
        assert ast.dump(ast.parse(changed)) != tree, one
        assert changed.endswith(source[one.end :]) and changed[: one.start] == source[: one.start]
    kinds = {(m.kind, m.lines(source)[1]) for m in mutants}
    assert {
        ("arithmetic", "return a + b  # a comment"),
        ("comparison", "return a <= 3"),
        ("statement dropped", "pass"),
        ("condition", "while not (n > 0):"),
        ("constant", "n -= (2)"),
        ("constant", "n -= (0)"),
    } <= kinds


@pytest.mark.parametrize(
    "old, new",
    [
        ("f(a, b)", "f(b, a)"),
        ("min(a)", "max(a)"),
        ("not a", "(a)"),
        ("x.T", "x"),
        ("a and b", "((a) or (b))"),
        ("np.clip(a, 0)", "(a)"),
        ("f(a, k=c)", "f(a)"),
        ("a if b else c", "(c)"),
        ("a is not b", "a is b"),
        ("(a\n    * b)", "(a\n    / b)"),
    ],
)
def test_operators(old, new):
    source = f"x = {old}\n".encode()
    assert f"x = {new}\n".encode() in [m.apply(source) for m in all_mutants("m.py", source)]


def test_messages_annotations_and_docstrings_are_left_alone():
    source = (
        b'def f(a: int | None = None) -> "list[3]":\n    """3"""\n'
        b'    require(a, f"{a + 3}")\n    raise E(3 + 4)\n'
    )
    assert {m.kind for m in all_mutants("m.py", source)} == {"statement dropped", "returned early"}


def test_a_draw_is_by_the_seed_and_does_not_depend_on_other_lines():
    source = _MODULE.encode()
    drawn = [m.lines(source) for m in draw(all_mutants("m.py", source), source, 1, 5)]
    longer = b"import os\n" + source
    assert [m.lines(longer) for m in draw(all_mutants("m.py", longer), longer, 1, 5)] == drawn
    others = [[m.lines(source) for m in draw(all_mutants("m.py", source), source, s, 5)] for s in range(2, 6)]
    assert any(other != drawn for other in others)


def test_shares_are_by_lines_with_a_least():
    assert shares({"a": 300, "b": 100, "c": 1}, 40, 4) == {"a": 30, "b": 10, "c": 4}


def test_the_table_names_files_and_tests_that_exist_and_changes_that_apply():
    root = mutation.pathlib.Path(mutation.__file__).parent.parent
    for path, patterns in mutation_table.TESTS.items():
        assert (root / path).is_file(), path
        for pattern in patterns:  # one that matches nothing would leave mutants to no test
            assert list(root.glob(pattern)), (path, pattern)
    for hand in mutation_table.HAND_PICKED:
        assert hand.path in mutation_table.TESTS
        replacement(hand.path, (root / hand.path).read_bytes(), hand.old, hand.new, hand.name)
