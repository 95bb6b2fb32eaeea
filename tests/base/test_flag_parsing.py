"""What a command says of wrong flags."""

import subprocess
import sys

import pytest

from nas_tf.base.flag_parsing import sentence


def test_required_flags_become_one_sentence():
    message = (
        "flag --a=None: Flag --a must have a value other than None.\n"
        "flag --b_ms=None: Flag --b_ms must have a value other than None.\n"
        "flag --c=x: could not convert string to float: 'x'"
    )
    assert sentence(message) == (
        "--a and --b_ms are required. flag --c=x: could not convert string to float: 'x'."
    )
    assert sentence(message.splitlines()[1]) == "--b_ms is required."
    assert sentence("Unknown command line flag 'foo'. Did you mean: bar ?").endswith("mean: bar ?")


@pytest.mark.parametrize(
    "given, said",
    [
        (["--latency_table=t.json", "--workdir=w"], "error: --target_latency_ms is required."),
        (["--foo=1"], "error: Unknown command line flag 'foo'."),
        (["--gate_mode=ful"], "error: flag --gate_mode=ful: value should be one of <full|two>."),
    ],
)
def test_a_command_refuses_wrong_flags_in_one_sentence(given, said, tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "nas_tf.search", *given], capture_output=True, text=True, cwd=tmp_path
    )
    assert run.returncode == 1 and run.stdout == ""
    assert said in run.stderr and "Traceback" not in run.stderr and "FATAL" not in run.stderr
    assert not list(tmp_path.iterdir())
