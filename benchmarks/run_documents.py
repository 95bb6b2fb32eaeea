"""Runs every command of README.md and docs/, in order, in a fresh clone.

    python -m benchmarks.run_documents --folder=/tmp/documents
    python -m benchmarks.run_documents --folder=/tmp/documents --only='README.md' --link_requirements

The clone has what is committed. What the pages take for granted is put around it: prepared datasets in
the home folder, photographs, published weights, and a phone that is not there, behind a program that
stands in for adb. `benchmarks/document_settings.py` holds all that makes a command another one than the
page shows; what was run, and what was not and why, is printed. --link_requirements takes the packages that
the clone needs from the environment of this process instead of pip's network.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import time

from benchmarks import document_settings
from benchmarks.document_commands import Command, commands

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_TIMEOUT_S = 3600
_INSTALL = "pip install ."
_LINKED = (
    'echo "$LINKED" > "$(python -c "import site; print(site.getsitepackages()[0])")/linked.pth" && '
    "pip install --quiet --no-deps --no-build-isolation ."
)


@dataclasses.dataclass
class Stage:
    """A fresh clone and what lies around it."""

    folder: pathlib.Path
    link_requirements: bool
    active: bool = False

    @property
    def clone(self) -> pathlib.Path:
        """The working copy, where commands run."""
        return self.folder / "nas_tf"

    def environment(self) -> dict[str, str]:
        """Variables of someone who has just logged in."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return kept | {
            "HOME": str(self.folder / "home"),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "LINKED": sysconfig.get_paths()["purelib"],
        }

    def run(self, text: str) -> subprocess.CompletedProcess:
        """Runs a command line; an environment that one has activated stays so for the next."""
        activates = ".venv/bin/activate" in text
        if self.link_requirements:
            text = text.replace(_INSTALL, _LINKED)
        before = ". .venv/bin/activate && " if self.active else ""
        done = subprocess.run(
            ["bash", "-c", before + text],
            cwd=self.clone,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        self.active |= activates and done.returncode == 0
        return done


def set_up(folder: pathlib.Path, link_requirements: bool) -> Stage:
    """Clones the repository into a new folder, and puts around it what the pages take for granted."""
    folder.mkdir(parents=True)
    stage = Stage(folder.resolve(), link_requirements)
    subprocess.run(["git", "clone", "--quiet", str(_ROOT), str(stage.clone)], check=True)
    data = _ROOT.parent / "shared" / "data"
    (stage.folder / "home").mkdir()
    if data.is_dir():
        (stage.folder / "shared").symlink_to(data.parent)
        (stage.folder / "home" / "tensorflow_datasets").symlink_to(data / "tfds")
        for suffix, name in (("json", "net.json"), ("pth", "net.pth")):
            source = data / "proxylessnas" / f"proxyless-w0.3-r176_imagenet.{suffix}"
            shutil.copy(source, stage.clone / name)
    _photographs(stage.clone / "photos")
    _phone(stage)
    script = re.search(r"```python\n(.*?)```", (stage.clone / "docs/deploy.md").read_text(), re.DOTALL)
    if script:
        (stage.clone / "classify.py").write_text(script.group(1), encoding="utf-8")
    return stage


def _photographs(folder: pathlib.Path) -> None:
    """Three classes of scikit-learn's digits, enlarged, in place of someone's photographs."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for digit, name in enumerate(("cats", "dogs", "horses")):
        (folder / name).mkdir(parents=True)
        for number, pixels in enumerate(digits.images[digits.target == digit][:50]):
            image = Image.fromarray((pixels * 15).astype(np.uint8)).resize((96, 80)).convert("RGB")
            image.save(folder / name / f"{number}.jpg")


def _phone(stage: Stage) -> None:
    """The tests' phone, as fast as one: 10 ns for each byte of a model's file."""
    latency = stage.folder / "phone_tests" / "tests" / "latency"
    shutil.copytree(stage.clone / "tests" / "latency", latency)
    script = latency / "stand_in_benchmark.sh"
    text = script.read_text().replace(
        "size=$(wc -c < \"$graph\" | tr -d ' ')", 'size=$(($(wc -c < "$graph") / 100))'
    )
    script.write_text(text)
    code = (
        "import pathlib, sys; from tests.latency.stand_in_phone import StandInPhone;"
        "phone = StandInPhone(pathlib.Path(sys.argv[1])); print(phone.adb, phone.binary)"
    )
    made = subprocess.run(
        [sys.executable, "-c", code, str(stage.folder / "phone")],
        cwd=stage.folder / "phone_tests",
        env=os.environ | {"PYTHONPATH": str(stage.folder / "phone_tests")},
        check=True,
        capture_output=True,
        text=True,
    )
    adb, binary = made.stdout.split()
    (stage.folder / "bin").mkdir()
    (stage.folder / "bin" / "adb").symlink_to(adb)
    shutil.copy(binary, stage.clone / "benchmark_model")


def run_one(stage: Stage, command: Command) -> bool:
    """Runs a command and prints how it went; whether it did, or was not to be run."""
    where = f"{command.document}:{command.line}"
    why = document_settings.not_run(command.text)
    if why:
        print(f"not run  {where}  {command.text}\n         {why}", flush=True)
        return True
    text = document_settings.as_run(command.text)
    began = time.monotonic()
    try:
        done = stage.run(text)
        status, output = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        status, output = -1, f"took more than {_TIMEOUT_S} s"
    verdict = "ran     " if status == 0 else f"FAILED {status}"
    print(f"{verdict} {where}  {time.monotonic() - began:.0f} s  {text}", flush=True)
    if status:
        print("\n".join(f"         {line}" for line in output.strip().split("\n")[-15:]), flush=True)
    return status == 0


def main() -> int:
    """Returns the exit status: 0 if no command failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where to work; must not exist")
    parser.add_argument("--only", default="", help="expression that document:line and command must match")
    parser.add_argument("--link_requirements", action="store_true")
    arguments = parser.parse_args()
    if arguments.folder.exists():
        parser.error(f"--folder={arguments.folder} exists already")
    stage = set_up(arguments.folder, arguments.link_requirements)
    found = commands(stage.clone)
    # The first command makes the environment that all others need.
    chosen = [
        c for c in found if c is found[0] or re.search(arguments.only, f"{c.document}:{c.line} {c.text}")
    ]
    ordered = sorted(chosen, key=lambda command: document_settings.is_last(command.text))
    results = [run_one(stage, command) for command in ordered]
    print(f"{len(results)} commands, {results.count(False)} failed")
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
