"""A mutation tester: how many small changes of the sources the tests notice.

    python -m benchmarks.mutation --seed=0 --mutants=200 --only='quant/*' --output=mutation.jsonl

TensorFlow takes seconds to import, so it is imported once; every mutant is judged by a forked
child, which finds the changed file in a copy of the sources and runs pytest on the tests that
`mutation_table` names for it. Judged mutants are in the output, one JSON object per line, and are
not judged again while their file (and, for survivors, their tests) stay as they were.
"""

import argparse
import collections
import contextlib
import dataclasses
import fnmatch
import hashlib
import importlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks import mutation_table
from benchmarks.mutation_operators import Mutant, all_mutants, draw, replacement, shares

# Imported by the parent: what takes long and runs no TensorFlow operation while it is imported.
PRELOADED = (
    "pytest",
    "numpy",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.datasets",
    "PIL.Image",
    "yaml",
    "absl.flags",
    "tensorflow",
    "tf_keras",
    "tensorflow_model_optimization",
    "tensorflow_model_optimization.python.core.quantization.keras.default_8bit."
    "default_8bit_quantize_registry",
    "ai_edge_litert.interpreter",
    "tensorflow_datasets",
    "matplotlib.figure",
)
LEFT_OUT = (".git", ".venv", "__pycache__", ".pytest_cache", "*.egg-info", "*.jsonl")
KILLED, SURVIVED, TIMED_OUT = "killed", "survived", "timed out"
_NO_TESTS = 5  # pytest's exit status where nothing was collected
# Between looks at a child; `waitpid` has no time limit of its own.
_POLL_S = 0.05
_ROOT = pathlib.Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Settings:
    """How tests are run.

    Attributes:
      marks: pytest's -m.
      longest_s: tests that took longer in the unchanged code are left out.
      left_out: tests that do not judge.
      slack: a mutant may take this many times the unchanged code's time, and a minute.
    """

    marks: str = "not slow"
    longest_s: float = float("inf")
    left_out: tuple[str, ...] = ()
    slack: float = 3.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of one run of pytest: exit status (None: timed out), first failure, seconds of each test."""

    status: int | None
    failed: str
    seconds: float
    durations: dict[str, float]

    @property
    def verdict(self) -> str:
        """In one word."""
        return {None: TIMED_OUT, 0: SURVIVED}.get(self.status, KILLED)


class Seat:
    """A copy of the sources in which one mutant at a time is judged."""

    def __init__(self, root: pathlib.Path, folder: pathlib.Path):
        self.root, self.tree = root, folder / "work" / "tree"
        shutil.copytree(root, self.tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
        if (root.parent / "shared").exists():  # real data, beside the repository
            (folder / "work" / "shared").symlink_to((root.parent / "shared").resolve())
        self._temporary = folder / "temporary"
        self._report = folder / "report.json"
        self._process: subprocess.Popen | None = None
        self.said = folder / "said.txt"  # what the last forked child printed

    @contextlib.contextmanager
    def holding(self, mutant: Mutant | None):
        """The copy with the mutant applied."""
        if mutant is None:
            yield
            return
        path = self.tree / mutant.path
        original = path.read_bytes()
        try:
            _write(path, mutant.apply(original))
            yield
        finally:
            _write(path, original)

    def run(
        self,
        tests: list[str],
        settings: Settings,
        limit_s: float,
        skipped: Iterable[str] = (),
        fresh: bool = False,
    ) -> Outcome:
        """Runs pytest on test files, in a forked child or in a fresh process."""
        self._report.unlink(missing_ok=True)
        shutil.rmtree(self._temporary, ignore_errors=True)
        arguments = [
            # The first failure is the verdict.
            "-x",
            "-q",
            # pytest would remember failures from one mutant to the next.
            "-p",
            "no:cacheprovider",
            # One folder for all, which is emptied before each run; else they would fill the disk.
            f"--basetemp={self._temporary}",
            "-m",
            settings.marks,
            *(f"--deselect={test}" for test in (*settings.left_out, *skipped)),
            *tests,
        ]
        begun = time.monotonic()
        child = (self._fresh if fresh else self._fork)(arguments)
        status = _wait(child, limit_s)
        facts = {"failed": "", "durations": {}}
        if self._report.exists():
            facts = json.loads(self._report.read_text())
        elif status is not None and status >= 0:  # not killed by a signal
            raise RuntimeError(f"pytest did not run in {self.tree}; its status was {status}.")
        return Outcome(status, facts["failed"], time.monotonic() - begun, facts["durations"])

    def _fork(self, arguments: list[str]) -> int:
        # What the parent has not written yet, the child would write once more.
        sys.stdout.flush()
        child = os.fork()
        if child:
            return child
        # pytest's own are 0 to 5; 70 and 71 tell a child in which it did not run through.
        status = 70
        try:
            # A group of its own, so that a time-out also ends what the tests have started.
            os.setsid()
            os.chdir(self.tree)
            os.environ["PYTHONPATH"] = str(self.tree)  # for processes that tests start
            written = os.open(self.said, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            for stream in (0, 1, 2):
                os.dup2(written, stream)
            _forget(self.root, self.tree)
            import pytest

            status = int(pytest.main(arguments, plugins=[Recorder(self._report)]))
        except BaseException:
            status = 71
        finally:
            # Without the parent's clean-up, which would remove the sources under test.
            os._exit(status)

    def _fresh(self, arguments: list[str]) -> int:
        code = (
            "import sys, pathlib, pytest; from benchmarks.mutation import Recorder; "
            "sys.exit(pytest.main(sys.argv[2:], plugins=[Recorder(pathlib.Path(sys.argv[1]))]))"
        )
        # Kept: Python waits for a process whose object is gone as soon as another one is started, and its
        # exit status would be lost.
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(self._report), *arguments],
            cwd=self.tree,
            env={**os.environ, "PYTHONPATH": f"{self.tree}:{_ROOT}"},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return self._process.pid


class Recorder:
    """Plugin of pytest: writes the first failure and the seconds of each test into a file."""

    def __init__(self, report: pathlib.Path):
        self._report = report
        self._failed, self._durations = "", collections.Counter()

    def pytest_runtest_logreport(self, report) -> None:
        """After set-up, call and tear-down of each test."""
        if report.when == "call":
            self._durations[report.nodeid] += report.duration
        if report.failed and not self._failed:
            self._failed = report.nodeid

    def pytest_collectreport(self, report) -> None:
        """After a file was imported."""
        if report.failed and not self._failed:
            self._failed = report.nodeid

    def pytest_sessionfinish(self) -> None:
        """At the end."""
        self._report.write_text(json.dumps({"failed": self._failed, "durations": self._durations}))


def _write(path: pathlib.Path, content: bytes) -> None:
    """Python takes compiled code for current by the file's time and size: it has to go."""
    path.write_bytes(content)
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def _forget(root: pathlib.Path, tree: pathlib.Path) -> None:
    """Lets this process import the sources from `tree` and from nowhere else."""
    sys.path[:] = [str(tree), *(p for p in sys.path if pathlib.Path(p or ".").resolve() != root)]
    # A module that is loaded already would be the one without the mutant.
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None)
        if name != "__main__" and place and pathlib.Path(place).is_relative_to(root) and ".venv" not in place:
            del sys.modules[name]
    importlib.invalidate_caches()


def _wait(child: int, limit_s: float) -> int | None:
    """Exit status of a child, which leads a process group of its own; None if out of time."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(_POLL_S)
    # The whole group; what a test has started would else run on beside the next mutant.
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def preload(modules: Iterable[str] = PRELOADED) -> None:
    """Imports what the children share; `RuntimeError` if TensorFlow has begun to run."""
    for name in modules:
        importlib.import_module(name)
    if "tensorflow" in sys.modules:
        from tensorflow.python.eager import context

        # TensorFlow's threads start with its first operation, and a fork keeps the calling thread only.
        if context.context()._context_handle is not None:
            raise RuntimeError("An import ran TensorFlow operations, whose threads do not survive a fork.")


class Tester:
    """Judges mutants of the files of a table.

    Args:
      root: of the sources, left unchanged.
      tests: source file → patterns of test files; see `mutation_table`.
      output: of earlier verdicts as well.
    """

    def __init__(
        self,
        root: pathlib.Path,
        tests: Mapping[str, tuple[str, ...]],
        output: pathlib.Path,
        folder: pathlib.Path,
        settings: Settings = Settings(),
    ):
        self.root, self.output, self.settings = root.resolve(), output, settings
        self._tests = {path: _matching(self.root, patterns) for path, patterns in tests.items()}
        self._seat = Seat(self.root, folder)
        self._records: list[dict[str, Any]] = []
        self._durations: dict[str, dict[str, float]] = {}
        self.read_again()

    def read_again(self) -> None:
        """Takes in verdicts that others wrote into the output."""
        if self.output.exists():
            self._records = [json.loads(line) for line in self.output.read_text().splitlines()]

    def source(self, path: str) -> bytes:
        """A source file as it is."""
        return (self.root / path).read_bytes()

    def check_unchanged(self, path: str) -> None:
        """Runs a file's tests on unchanged code, each test file once, and keeps their times.

        Raises:
          RuntimeError: a test fails, so verdicts would mean nothing; or there are none.
        """
        for test in self._tests[path]:
            if test not in self._durations:
                self._durations[test] = self._unchanged(test)
        if not any(self._durations[test] for test in self._tests[path]):
            raise RuntimeError(f"The table names no tests for {path}.")

    def _unchanged(self, test: str) -> dict[str, float]:
        # That a test passes is a statement about all sources.
        digest = self._digest([test], every_source=True)
        known = next((r for r in self._records if r.get("unchanged") == digest), None)
        if known is None:
            outcome = self._seat.run([test], self.settings, 1800)
            if outcome.status not in (0, _NO_TESTS):
                raise RuntimeError(
                    f"{test} fails on the unchanged code: {outcome.failed or outcome}\n"
                    + self._seat.said.read_text(errors="replace")[-5000:]
                )
            print(f"unchanged: {test} passes in {outcome.seconds:.0f} s", flush=True)
            known = {"unchanged": digest, "test": test, "durations": outcome.durations}
            self._record(known)
        return known["durations"]

    def judge(self, mutant: Mutant, fresh: bool = False) -> dict[str, Any]:
        """The verdict on one mutant as a record; one known already is not asked for again."""
        source = self.source(mutant.path)
        old, new = mutant.lines(source)
        key = {
            "path": mutant.path,
            "kind": mutant.kind,
            "line": mutant.line,
            "old": old,
            "new": new,
            "file": hashlib.sha256(source).hexdigest()[:16],
        }
        tests = self._tests[mutant.path]
        known = None if fresh else self._known(key, self._digest(tests))
        if known is not None:
            return known
        self.check_unchanged(mutant.path)
        times = {name: s for test in tests for name, s in self._durations[test].items()}
        long = [name for name, seconds in times.items() if seconds > self.settings.longest_s]
        usual = sum(seconds for name, seconds in times.items() if name not in long)
        with self._seat.holding(mutant):
            outcome = self._seat.run(tests, self.settings, self.settings.slack * usual + 60, long, fresh)
        if outcome.status == _NO_TESTS:
            raise RuntimeError(f"No test is left for {mutant.path}.")
        record = key | {
            "label": mutant.label,
            "verdict": outcome.verdict,
            "by": outcome.failed,
            "seconds": round(outcome.seconds, 1),
            "tests": self._digest(tests),
            "longest_s": self.settings.longest_s,
        }
        if not fresh:
            self._record(record)
        return record

    def _known(self, key: dict[str, Any], tests: str) -> dict[str, Any] | None:
        for record in reversed(self._records):
            if all(record.get(name) == value for name, value in key.items()):
                # A killed mutant stays killed; a survivor may yet fall to a new test or one left out so far.
                lasting = record["verdict"] != SURVIVED or (
                    record["tests"] == tests and record["longest_s"] >= self.settings.longest_s
                )
                if lasting:
                    return record
        return None

    def _digest(self, tests: Iterable[str], every_source: bool = False) -> str:
        paths = [*tests, *(self._tests if every_source else ())]
        return hashlib.sha256(b"\0".join(map(self.source, paths))).hexdigest()[:16]

    def _record(self, record: dict[str, Any]) -> None:
        self._records.append(record)
        with self.output.open("a", encoding="utf-8") as file:
            print(json.dumps(record, ensure_ascii=False), file=file)


def _matching(root: pathlib.Path, patterns: Iterable[str]) -> list[str]:
    found = (str(path.relative_to(root)) for pattern in patterns for path in sorted(root.glob(pattern)))
    return list(dict.fromkeys(found))


def choose(
    tester: Tester, paths: Iterable[str], by_hand_only: Iterable[str], seed: int, count: int, least: int = 4
) -> list[Mutant]:
    """`count` generated mutants, or a few more, spread over the files by their lines."""
    lines = {path: tester.source(path).count(b"\n") for path in paths if path not in by_hand_only}
    return [
        mutant
        for path, number in (shares(lines, count, least) if lines else {}).items()
        for mutant in draw(all_mutants(path, tester.source(path)), tester.source(path), seed, number)
    ]


def explanation(record: dict[str, Any]) -> str:
    """Why a survivor does not matter; empty if the table has none."""
    name = pathlib.Path(record["path"]).name
    return next(
        (
            e.why
            for e in mutation_table.EQUIVALENT
            if (e.name, e.old, e.new) == (name, record["old"], record["new"])
        ),
        "",
    )


def table(records: list[dict[str, Any]]) -> str:
    """Verdicts by file, and every survivor as a diff."""
    lines = [f"{'':46}{'made':>6}{'killed':>8}{'timed out':>11}{'survived':>10}{'explained':>11}"]
    paths = list(dict.fromkeys(record["path"] for record in records))
    for title, chosen in [(p, [r for r in records if r["path"] == p]) for p in paths] + [("all", records)]:
        count = collections.Counter(record["verdict"] for record in chosen)
        explained = sum(r["verdict"] == SURVIVED and bool(explanation(r)) for r in chosen)
        lines.append(
            f"{title:46}{len(chosen):6}{count[KILLED]:8}{count[TIMED_OUT]:11}"
            f"{count[SURVIVED]:10}{explained:11}"
        )
    return "\n".join([*lines, "", *(_diff(r) for r in records if r["verdict"] == SURVIVED)])


def _diff(record: dict[str, Any]) -> str:
    why = explanation(record) or "NOT EXPLAINED"
    title = f"{record['path']}:{record['line']} {record['label'] or record['kind']}: {why}"
    sides = (("-", record["old"]), ("+", record["new"]))
    return "\n".join(
        [title, *(f"  {sign} {line.strip()}" for sign, side in sides for line in side.splitlines()), ""]
    )


def compare(tester: Tester, records: list[dict[str, Any]], mutants: list[Mutant], count: int) -> int:
    """Judges `count` mutants in fresh processes as well; returns how many verdicts differ."""
    pairs = list(zip(mutants, records, strict=True))
    differing = 0
    # Spread over all of them, since neighbours are of one file.
    for mutant, record in pairs[:: max(1, len(pairs) // count)][:count]:
        again = tester.judge(mutant, fresh=True)
        same = (again["verdict"], again["by"]) == (record["verdict"], record["by"])
        differing += not same
        print(
            f"fresh process: {again['verdict']} by {again['by'] or '-'}; "
            f"{'the same' if same else 'forked: ' + record['verdict'] + ' by ' + record['by']}",
            flush=True,
        )
    return differing


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mutation", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw of generated mutants")
    parser.add_argument("--mutants", type=int, default=200, help="generated ones")
    parser.add_argument("--only", default="*", help="source files, as patterns between commas, in this order")
    parser.add_argument("--output", default="mutation.jsonl", help="verdicts, also earlier ones")
    parser.add_argument(
        "--longest_test_s",
        type=float,
        default=float("inf"),
        help="leave out tests that take longer; their survivors are judged again by a run without this",
    )
    parser.add_argument(
        "--by_hand", type=int, choices=(0, 1), default=1, help="whether mutants chosen by hand are judged too"
    )
    parser.add_argument("--compare", type=int, default=0, help="judge so many in fresh processes as well")
    parser.add_argument("--processes", type=int, default=1, help="mutants judged at a time")
    return parser.parse_args()


def _list_mutants(tester: Tester, arguments: argparse.Namespace) -> list[Mutant]:
    generated = choose(
        tester, mutation_table.TESTS, mutation_table.BY_HAND_ONLY, arguments.seed, arguments.mutants
    )
    by_hand = (
        [replacement(h.path, tester.source(h.path), h.old, h.new, h.name) for h in mutation_table.HAND_PICKED]
        if arguments.by_hand
        else []
    )
    return list(
        dict.fromkeys(
            m
            for pattern in arguments.only.split(",")
            for m in [*by_hand, *generated]
            if fnmatch.fnmatch(m.path, pattern)
        )
    )


def _judge_all(tester: Tester, mutants: list[Mutant]) -> list[dict[str, Any]]:
    records = []
    for number, mutant in enumerate(mutants, 1):
        record = tester.judge(mutant)
        records.append(record)
        print(
            f"{number}/{len(mutants)} {record['verdict']:9} {record['seconds']:6.1f} s  "
            f"{mutant.path}:{mutant.line} {mutant.label or mutant.kind}",
            flush=True,
        )
    return records


def _in_parallel(mutants: list[Mutant], processes: int, make) -> None:
    """Judges mutants in several processes, each with a seat of its own; all into one output."""
    children = []
    for part in range(processes):
        child = os.fork()
        if not child:
            status = 1
            try:
                _judge_all(make(part), mutants[part::processes])
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    if any(os.waitpid(child, 0)[1] for child in children):
        raise RuntimeError("A process that judged mutants failed; see above.")


def main() -> int:
    """Returns the exit status: 0 if every survivor is explained."""
    arguments = _arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    settings = Settings(longest_s=arguments.longest_test_s, left_out=tuple(mutation_table.UNSTABLE))
    with tempfile.TemporaryDirectory(prefix="mutation") as folder:

        def make(part: str | int) -> Tester:
            return Tester(
                _ROOT,
                mutation_table.TESTS,
                pathlib.Path(arguments.output),
                pathlib.Path(folder) / str(part),
                settings,
            )

        tester = make("first")
        mutants = _list_mutants(tester, arguments)
        print(
            f"seed {arguments.seed}: {len(mutants)} mutants of {len({m.path for m in mutants})} files",
            flush=True,
        )
        preload()
        if arguments.processes > 1:
            for path in dict.fromkeys(m.path for m in mutants):
                # Before the fork, or every process would run the same tests.
                tester.check_unchanged(path)
            _in_parallel(mutants, arguments.processes, make)
            # With the verdicts of all processes read, the loop below only looks them up.
            tester.read_again()
        records = _judge_all(tester, mutants)
        differing = compare(tester, records, mutants, arguments.compare) if arguments.compare else 0
    print(table(records))
    return int(differing > 0 or any(r["verdict"] == SURVIVED and not explanation(r) for r in records))


if __name__ == "__main__":
    sys.exit(main())
