"""One process and several that share its batches end with the same bits, whatever is trained."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Bit equality holds for equal numbers of threads.
ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def digests(steps: int, *kinds: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "tests.distribute.equal_steps", str(steps), *kinds],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | ONE_THREAD,
        timeout=3000,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def require_equal(found: dict) -> None:
    for kind, of in found.items():
        every = {digest for shared, values in of.items() if shared != "1 of 1" for digest in values}
        assert len(every) == 1, kind
        assert [len(of[f"{workers} of 4"]) for workers in (1, 2, 4)] == [1, 2, 4]
        # The parts of a batch are normalized apart, so it is not the run without parts: the digests
        # do see what was computed. A quantized network normalizes nothing, but adds in another order.
        assert of["1 of 1"] != of["1 of 4"], kind


@pytest.mark.slow
def test_two_and_four_processes_equal_one_bit_for_bit():
    require_equal(digests(4))


@pytest.mark.slow
def test_the_same_after_fifty_steps():
    require_equal(digests(50))
