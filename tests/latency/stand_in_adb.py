"""Stands in for `adb` with one phone behind it, faults included.

Its first argument is a state folder: `scenario.json` says what goes wrong, `device/` is the
phone's file system, `log.txt` the calls received. Shell commands run in a local shell with the
phone's tools (getprop, dumpsys, nproc, taskset) replaced, and the copied `benchmark_model` by
`stand_in_benchmark.sh`, which prints what the real one prints.
"""

import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys

REMOTE = "/data/local/tmp"


def main() -> int:
    """Answers one call; returns adb's exit status."""
    state, arguments = pathlib.Path(sys.argv[1]), sys.argv[2:]
    scenario = json.loads((state / "scenario.json").read_text())
    with (state / "log.txt").open("a") as log:
        log.write(json.dumps(arguments) + "\n")
    lost = (state / "lost").exists()
    if arguments == ["devices"]:
        print("List of devices attached")
        for serial, status in scenario["devices"].items():
            if not lost:
                print(f"{serial}\t{status}")
        return 0
    serial, verb, rest = arguments[1], arguments[2], arguments[3:]
    if lost:
        print(f"adb: device '{serial}' not found", file=sys.stderr)
        return 1
    return {"push": push, "shell": shell}[verb](state, rest)


def local(state: pathlib.Path, path: str) -> pathlib.Path:
    """Where a path of the phone lies here."""
    return state / "device" / path.removeprefix(REMOTE).strip("/")


def push(state: pathlib.Path, paths: list[str]) -> int:
    """`adb push`: several files to a folder, or one to a name."""
    *sources, target = paths
    for source in sources:
        to = local(state, target)
        if target.endswith("/"):
            to = to / pathlib.Path(source).name
        if to.name == "benchmark_model":
            shutil.copy(pathlib.Path(__file__).with_name("stand_in_benchmark.sh"), to)
        else:
            shutil.copy(source, to)
        to.chmod(to.stat().st_mode & ~stat.S_IXUSR)
    print(f"{len(sources)} files pushed.")
    return 0


def shell(state: pathlib.Path, words: list[str]) -> int:
    """`adb shell`."""
    command = " ".join(words).replace(REMOTE, str(state / "device"))
    tools = f"{state / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "STATE": str(state), "PATH": tools}
    result = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, env=environment, check=False
    )
    sys.stdout.write(result.stdout)
    sys.stderr.write(result.stderr)
    return 255 if (state / "lost").exists() else result.returncode


if __name__ == "__main__":
    sys.exit(main())
