"""The built wheel: what is in it, and that it works in a fresh environment, from an empty folder."""

import configparser
import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from flags import presets
from tests.commands import wheel
from tests.commands.test_presets import REPOSITORY


@pytest.fixture(scope="module", name="built")
def _built(tmp_path_factory):
    return wheel.build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module", name="programs")
def _programs(built, tmp_path_factory):
    return wheel.install(built, tmp_path_factory.mktemp("environment"))


@pytest.fixture(name="run")
def _run(programs, tmp_path):
    def run(*arguments, program="nas-tf", **env):
        return subprocess.run(
            [programs / program, *arguments],
            cwd=tmp_path,
            env=wheel.environment() | env,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_contents_of_the_wheel(built):
    with zipfile.ZipFile(built) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        (points,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        parser = configparser.ConfigParser()
        parser.read_string(archive.read(points).decode())
    ours = [
        path.relative_to(REPOSITORY).as_posix()
        for package in ("nas_tf", "quant", "export", "flags")
        for path in (REPOSITORY / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert sorted(names) == sorted(ours)
    assert {f"flags/{name}.flags" for name in presets.names()} <= set(names)
    assert dict(parser["console_scripts"]) == {"nas-tf": "nas_tf.__main__:main"}


def test_it_runs_from_an_empty_folder(run, tmp_path, programs):
    where = run("-c", "import nas_tf; print(nas_tf.__file__)", program="python")
    assert where.stdout.startswith(str(programs.parent)), where.stderr
    listed = run("presets")
    assert listed.returncode == 0 and "quickstart" in listed.stdout, listed.stderr
    described = run("describe", "--architecture=proxyless_mobile", "--output_json=facts.json")
    assert described.returncode == 0 and described.stderr == ""
    assert json.loads((tmp_path / "facts.json").read_text())["params"] == 4_080_512
    helped = run("search", "--help")
    assert helped.returncode == 0 and "Most needed:" in helped.stdout


def test_a_folder_of_the_same_name_does_not_matter(run, tmp_path):
    """The installed command does not look into the current folder; PYTHONPATH is looked at and named."""
    (tmp_path / "flags").mkdir()
    (tmp_path / "flags/__init__.py").write_text("")
    flags = ("describe", "--architecture=mobilenet_v2")
    assert run(*flags).returncode == 0
    hidden = run(*flags, PYTHONPATH=str(tmp_path))
    assert hidden.returncode == 1 and "Traceback" not in hidden.stderr
    assert f"{tmp_path}/flags/__init__.py" in hidden.stderr


def _other_distribution(packages, path, text):
    """What pip does when it installs a distribution with a package `flags`."""
    (packages / path).write_text(text)
    info = packages / "gflags_of_another-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gflags-of-another\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("flags\n")
    (info / "RECORD").write_text(f"{path},,\n")


def test_other_distributions_in_the_same_folder_are_named(built, tmp_path):
    programs = wheel.install(built, tmp_path / "environment")
    (packages,) = (tmp_path / "environment/lib").glob("python*/site-packages")

    def run():
        return subprocess.run(
            [programs / "nas-tf", "describe", "--architecture=mobilenet_v2"],
            cwd=tmp_path,
            env=wheel.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    # It was there first, and ours wrote over its __init__.
    _other_distribution(packages, "flags/parser.py", "")
    warned = run()
    assert warned.returncode == 0 and "3,504,872" in warned.stdout
    assert warned.stderr.startswith("warning: ") and "flags/parser.py" in warned.stderr
    assert "'gflags-of-another'" in warned.stderr
    # It came later, and wrote over ours.
    shutil.rmtree(packages / "gflags_of_another-1.0.dist-info")
    _other_distribution(packages, "flags/__init__.py", "from flags.parser import *\n")
    refused = run()
    assert refused.returncode == 1 and refused.stdout == "" and "Traceback" not in refused.stderr
    assert "'gflags-of-another' was installed into the same folder" in refused.stderr


@pytest.mark.slow
def test_the_quickstart_of_an_installed_wheel(run, tmp_path):
    """From nothing to a file that is asked, without the repository."""
    short = ("--epochs=2", "--search_epochs=1", "--search_warmup_epochs=1", "--steps=2", "--num_runs=5")
    done = run("pipeline", "--preset=quickstart", "--latency_extra_seconds=0", *short, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "next: nas-tf audit --model=runs/quickstart/convert/model_int8.tflite" in done.stdout
    model = tmp_path / "runs/quickstart/convert/model_int8.tflite"
    assert (tmp_path / "runs/quickstart/report.html").exists()
    audit = run("audit", f"--model={model}")
    assert audit.returncode == 0, audit.stderr[-2000:]
    assert os.listdir(tmp_path) == ["runs"]


def test_a_file_that_is_new_in_the_repository_is_no_strangers(tmp_path):
    """Even where a list of an earlier install lies beside it, as after `pip install --editable`."""
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "new.py").write_text("", encoding="utf-8")
    listed = tmp_path / "nas_tf.egg-info"
    listed.mkdir()
    (listed / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: nas_tf\nVersion: 1\n", encoding="utf-8")
    (listed / "SOURCES.txt").write_text("export/old.py\n", encoding="utf-8")
    code = (
        "import pathlib, sys; home = pathlib.Path(sys.argv[1]); sys.path.insert(0, str(home)); "
        "from nas_tf.base import neighbours; print(len(neighbours.strangers(home.resolve())))"
    )
    for setup, found in ((False, "1"), (True, "0")):
        if setup:
            (tmp_path / "setup.py").write_text("", encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == found
