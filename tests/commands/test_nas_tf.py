"""The one command `nas-tf`: the modules as subcommands, presets by name, help by topic."""

import os
import re
import subprocess
import sys

import pytest

from flags import presets, topics
from nas_tf.base import neighbours, subcommands
from nas_tf.base.errors import UserError
from tests.commands.test_help import COMMANDS
from tests.commands.test_presets import REPOSITORY


def run(*arguments, module="nas_tf", cwd=REPOSITORY, **env):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "100"} | env,
        capture_output=True,
        text=True,
        check=False,
    )


def flags_in(help_text):
    """Names of the flags that a help explains: those at the beginning of a line."""
    return set(re.findall(r"^ +(?:-\w,)?--(?:\[no\])?(\w+)\b", help_text, re.MULTILINE))


def test_every_command_is_a_subcommand():
    commands = [
        path.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", ".")
        for package in ("nas_tf", "quant", "export")
        for path in (REPOSITORY / package).rglob("*.py")
        if "cli.run(" in path.read_text(encoding="utf-8")
    ]
    assert sorted(commands) == sorted(map(subcommands.main_module, COMMANDS))
    listed = run("--help")
    assert listed.returncode == 0
    for module in COMMANDS:
        assert re.search(rf"^  {module.rsplit('.', maxsplit=1)[-1]} +[A-Z]", listed.stdout, re.MULTILINE)
    assert run().stdout == run("help").stdout == listed.stdout


def test_a_subcommand_is_the_module():
    flags = ("--architecture=mobilenet_v2", "--resolution=96")
    ours, modules = run("describe", *flags), run(*flags, module="nas_tf.describe")
    assert ours.returncode == 0 and "3,504,872" in ours.stdout
    assert (ours.stdout, ours.stderr) == (modules.stdout, modules.stderr)


def test_hyphens_and_help_of_a_command():
    shown = run("build-latency-table", "--help")
    assert shown.returncode == 0 and shown.stdout.startswith("Command: measure a latency table")
    assert shown.stdout == run("help", "build_latency_table").stdout


@pytest.mark.parametrize("module", COMMANDS)
def test_help_by_topic_has_every_flag_once(module):
    """Against absl's help of the module, which lists the flags of ours and some of its own."""
    shown = run(module.rsplit(".", maxsplit=1)[-1], "--help")
    assert shown.returncode == 0, shown.stderr
    plain = run("--help", module=module)
    names = re.findall(r"^  --(?:\[no\])?(\w+)", shown.stdout, re.MULTILINE)
    assert len(names) == len(set(names))
    assert set(names) == flags_in(plain.stdout) - {"help", "helpshort", "helpfull", "helpxml"}
    first = shown.stdout.split("\nMost needed:\n")[1].split("\n\n")[0]
    assert 1 <= len(flags_in(first)) <= 10


def test_most_needed_flags_come_first_in_their_order():
    shown = run("search", "--help").stdout.split("\nMost needed:\n")[1]
    names = re.findall(r"^  --(?:\[no\])?(\w+)", shown.split("\n\n")[0], re.MULTILINE)
    wanted = [name for name in topics.MOST_NEEDED if name in flags_in(shown)]
    assert names == wanted[:10] and names[:2] == ["workdir", "dataset"]
    # Spread over lines, and words kept whole.
    assert re.search(r"--latency_table .*\(required\)", shown)
    assert re.search(r"--resolution .*\(default '224'\)", shown)
    titles = re.findall(r"^(\w.*):$", shown, re.MULTILINE)
    assert titles[:3] == ["Images", "Augmentation", "Search"]


def test_help_loads_nothing_heavy():
    probe = (
        "import sys; sys.argv = ['nas-tf', 'search', '--help']\n"
        "from nas_tf.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "assert not {'tensorflow', 'tf_keras', 'tensorflow_datasets', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_advice_is_spelled_as_the_user_calls():
    try:
        said = "python -m quant.finetune --flagfile=flags/cifar10.flags and python -m nas_tf.other"
        assert subcommands.as_called(said) == said
        subcommands.called_by_name()
        assert subcommands.as_called(said) == "nas-tf finetune --preset=cifar10 and python -m nas_tf.other"
    finally:
        subcommands._Call.by_name = False


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["serch"], "There is no command 'serch'"),
        (["serch"], "Did you mean 'search'?"),
        (["pipeline", "--preset=quickstrat"], "There is no preset 'quickstrat'; there are cifar10, "),
        (["pipeline", "--preset", "quickstrat"], "Did you mean 'quickstart'?"),
        (["pipeline", "--preset"], "There is no preset ''"),
    ],
)
def test_mistakes_are_one_sentence(arguments, said):
    done = run(*arguments)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and said in done.stderr and "Traceback" not in done.stderr


def test_presets_are_listed_with_what_they_are_for():
    listed = run("presets")
    assert listed.returncode == 0
    rows = dict(re.findall(r"^(\S+)  +(\S.+)$", listed.stdout, re.MULTILINE))
    assert list(rows)[: len(presets.names())] == presets.names()
    assert rows["quickstart"].startswith("The whole pipeline on scikit-learn's digits")


def test_written_flags_hold_instead_of_a_presets():
    path = REPOSITORY / "flags/quickstart.flags"
    assert presets.expand(["--epochs=1", "--preset=quickstart", "-x"]) == [
        f"--flagfile={path}",
        "--epochs=1",
        "-x",
    ]
    assert presets.expand(["a", "--preset", "quickstart", "--", "--preset=b"]) == [
        f"--flagfile={path}",
        "a",
        "--",
        "--preset=b",
    ]


def test_a_preset_reaches_the_command():
    """Its --workdir satisfies the command, which then refuses what is left."""
    done = run("pipeline", "--preset=quickstart", "left")
    assert done.returncode == 1 and "error: Unexpected argument 'left'" in done.stderr
    assert "--workdir is required." in run("pipeline", "left").stderr


@pytest.mark.parametrize("name", neighbours.NAMES)
@pytest.mark.parametrize("module", ["nas_tf.describe", "quant.audit", "export.predict", "nas_tf"])
def test_a_package_that_hides_ours_is_named(tmp_path, name, module):
    """`python -m` looks into the current folder first."""
    if module.startswith(f"{name}."):
        pytest.skip("nothing of ours is run then")
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    done = run("--help", module=module, cwd=tmp_path, PYTHONPATH=str(REPOSITORY))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"another package {name!r}" in done.stderr and str(tmp_path / name) in done.stderr


def test_a_folder_without_code_and_a_library_hide_nothing(tmp_path):
    (tmp_path / "flags").mkdir()
    shown = run("--help", module="nas_tf.describe", cwd=tmp_path, PYTHONPATH=str(REPOSITORY))
    assert shown.returncode == 0, shown.stderr
    (tmp_path / "flags/__init__.py").write_text("MINE = 1")
    done = subprocess.run(
        [sys.executable, "-c", "import nas_tf.space.architecture, flags; print(flags.MINE)"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "1\n", done.stderr


def test_a_package_that_is_gone_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(neighbours, "NAMES", ("no_such_package_at_all",))
    with pytest.raises(UserError, match="'no_such_package_at_all' of nas_tf is missing"):
        neighbours.check(tmp_path)
