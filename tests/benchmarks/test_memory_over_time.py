"""What is said of the memory of a command."""

import subprocess
import sys

from benchmarks.memory_over_time import growth, largest_of_parts, resident_mib


def test_growth_is_told_from_the_first_start():
    # 20 samples: two for each tenth, of which the larger counts.
    sampled = [1.0, 2.0, 50.0, 100.0, *[100.0, 90.0] * 4, *[107.0, 80.0] * 4]
    parts = largest_of_parts(sampled)
    assert parts == [2.0, 100.0, 100.0, 100.0, 100.0, 100.0, 107.0, 107.0, 107.0, 107.0]
    assert growth(parts) == 7.0


def test_memory_of_a_child_counts():
    # 64 MiB that are written to, so that they are there.
    code = "import sys; held = b'x' * (1 << 26); print('held', flush=True); sys.stdin.read()"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert 64 < resident_mib(process.pid) < 64 + 100
        process.stdin.close()  # at which both end
    assert resident_mib(process.pid) == 0.0
