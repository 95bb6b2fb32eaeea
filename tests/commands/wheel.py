"""A wheel of this repository, and a fresh environment that it is installed into."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

from tests.commands.test_presets import REPOSITORY

_PACKAGED = ("nas_tf", "quant", "export", "flags")


def build(folder: pathlib.Path) -> pathlib.Path:
    """The wheel, built of a copy, because setuptools leaves folders where it builds."""
    source = folder / "source"
    source.mkdir()
    for name in (*_PACKAGED, "tests", "benchmarks"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, source)
    _pip("wheel", "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """A fresh environment with the wheel in it; requirements come from the environment of the tests.

    Returns:
      The environment's folder of programs.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    programs = folder / "bin"
    _pip("--python", programs / "python", "install", wheel)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    # Behind the environment's own. Only folders that .pth files name are added, not what such files in
    # them name, so the editable install of the tests' environment stays outside.
    (packages / "requirements.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return programs


def environment() -> dict[str, str]:
    """Variables of a user who has none of Python's own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _pip(*arguments: object) -> None:
    before = [argument for argument in arguments if argument == "--python"]
    words = list(map(str, arguments))
    # No network and no requirements: they are there.
    at = words.index("wheel" if not before else "install") + 1
    words[at:at] = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, env=environment())
