"""How the memory of a command moves over its time: whether it grows with the images it has seen.

    python -m benchmarks.memory_over_time -- python -m export.evaluate --model=model_int8.tflite …

The command runs as it is. Twice a second the resident memory of it and of all processes that it started is
added up; printed is the largest sum in each tenth of its time, and how far the last four tenths lie above the
four before them (the first two begin with an empty process).
"""

import argparse
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.run_outcome import children

_EVERY_S = 0.5
_PARTS = 10
_PAGE_BYTES = 4096


def main() -> int:
    """Runs the command and prints; gives its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", nargs="+", help="after --")
    arguments = parser.parse_args()
    sampled = []
    with subprocess.Popen(arguments.command) as process:
        while process.poll() is None:
            sampled.append(resident_mib(process.pid))
            time.sleep(_EVERY_S)
    if len(sampled) < 2 * _PARTS:
        sys.exit(f"The command ended after {len(sampled)} samples; at least {2 * _PARTS} are needed.")
    parts = largest_of_parts(sampled)
    print("resident MiB, the largest of each tenth of the time:", " ".join(f"{part:.0f}" for part in parts))
    print(f"last four tenths less the four before: {growth(parts):+.1f} MiB")
    return process.returncode


def largest_of_parts(sampled: Sequence[float]) -> list[float]:
    """The largest sample of each tenth."""
    return [float(part.max()) for part in np.array_split(np.asarray(sampled), _PARTS)]


def growth(parts: Sequence[float]) -> float:
    """Mean of the last four parts less that of the four before."""
    return float(np.mean(parts[6:]) - np.mean(parts[2:6]))


def resident_mib(pid: int) -> float:
    """Of a process and all that it started; those that have ended count nothing."""
    try:
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    # mib = pages * page / 2^20
    return pages * _PAGE_BYTES / 2**20 + sum(map(resident_mib, children(pid)))


if __name__ == "__main__":
    sys.exit(main())
