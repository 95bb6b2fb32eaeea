"""Jobs in processes of their own: run once, side by side, and a failing one is told."""

import os
import pathlib

import pytest

from benchmarks.evidence_jobs import Job, run_all
from nas_tf.base.errors import UserError


def write(path: str) -> None:
    """Leaves the process it ran in, and its number of threads."""
    pathlib.Path(path).write_text(f"{os.getpid()} {os.environ['OMP_NUM_THREADS']}", encoding="utf-8")


def refuse(path: str) -> None:
    raise UserError(f"no {pathlib.Path(path).name}")


def _job(path: pathlib.Path, call=write) -> Job:
    return Job(path.name, call, (str(path),), path.exists)


def test_each_job_has_a_process_of_its_own_and_what_has_ended_stays(tmp_path, capsys):
    (tmp_path / "b").write_text("old", encoding="utf-8")
    jobs = [_job(tmp_path / name) for name in "abc"]
    run_all(jobs, 2)
    first, second = (tmp_path.joinpath(name).read_text(encoding="utf-8").split() for name in "ac")
    assert first[0] != second[0] and str(os.getpid()) not in (first[0], second[0])
    assert first[1] == second[1] == "1"
    assert (tmp_path / "b").read_text(encoding="utf-8") == "old"
    assert "2/2" in capsys.readouterr().err
    run_all(jobs, 2)
    assert capsys.readouterr().err == ""


def test_a_job_that_refuses_is_told_and_no_further_one_begun(tmp_path):
    jobs = [_job(tmp_path / "a"), _job(tmp_path / "b", refuse), *(_job(tmp_path / f"c{i}") for i in range(9))]
    with pytest.raises(UserError, match="no b"):
        run_all(jobs, 1)
    # One or two of them may have been handed over already.
    assert (tmp_path / "a").exists() and len(list(tmp_path.glob("c*"))) <= 3
