"""A phone that is not there, behind a program that stands in for `adb`."""

import json
import pathlib
import stat
import struct
import sys

# What the binary of 2023 prints, shortened to the lines around what is read.
OUTPUT = """INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Num threads: [1]
INFO: Graph: [GRAPH]
INFO: #threads used for CPU inference: [1]
INFO: Loaded model GRAPH
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: Initialized session in 12.34ms.
INFO: Running benchmark for at least 5 iterations and at least 0.1 seconds but terminate if \
exceeding 150 seconds.
INFO: count=7 first=99000 curr=98000 min=97000 max=99500 avg=98123.4 std=999 p5=97000 \
median=98000 p95=99400
INFO: Running benchmark for at least 10 iterations and at least 0.1 seconds but terminate if \
exceeding 150 seconds.
INFO: count=12 first=90000 curr=91000 min=1 max=90000 avg=50000.5 std=70 p5=2 \
median=MICROSECONDS p95=3
INFO: Inference timings in us: Init: 12340, First inference: 99000, Warmup (avg): 98123.4, \
Inference (avg): 50000.5
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only \
APPROXIMATE to the actual memory footprint of the model at runtime.
INFO: Memory footprint delta from the start of the tool (MB): init=5.2 overall=7.1
"""
# What binaries of 2020 print: no median.
OLD_OUTPUT = """STARTING!
Graph: [GRAPH]
Running benchmark for at least 5 iterations and at least 0.1 seconds
count=15 first=49060 curr=33682 min=32825 max=49060 avg=34825.1 std=3930

count=50 first=32891 curr=33978 min=32641 max=34005 avg=MICROSECONDS std=450

Inference timings in us: Init: 855, First inference: 49060, Warmup (avg): 34825.1, \
Inference (avg): MICROSECONDS
"""
_TOOLS = {
    "getprop": 'case "$1" in ro.product.model) echo "Pixel 2";; '
    "ro.build.fingerprint) echo google/walleye/walleye:11/RP1A/1:user;; "
    'ro.build.version.release) echo 11;; ro.product.cpu.abi) cat "$STATE/abi";; esac',
    "nproc": "echo 8",
    "taskset": '[ -e "$STATE/no_such_core" ] && { echo "taskset: failed"; exit 1; }; shift; "$@"',
    # Each call reads the next line; the last one stays.
    "dumpsys": 'echo "  level: 80"; echo "  temperature: $(head -1 "$STATE/heat")"; '
    '[ "$(wc -l < "$STATE/heat")" -gt 1 ] && sed -i 1d "$STATE/heat"; true',
}


class StandInPhone:
    """State folder of the stand-in; tests switch faults on by writing files into it."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        (folder / "device").mkdir(parents=True)
        (folder / "bin").mkdir()
        for name, body in _TOOLS.items():
            self.executable(folder / "bin" / name, body)
        self.set_devices(FA79X1A00123="device")
        self.write("abi", "arm64-v8a\n")
        self.write("heat", "250\n")
        self.write("benchmark.txt", OUTPUT)
        self.adb = folder / "adb"
        stand_in = pathlib.Path(__file__).with_name("stand_in_adb.py")
        self.executable(self.adb, f'exec "{sys.executable}" "{stand_in}" "{folder}" "$@"')
        self.binary = folder / "benchmark_model_for_phone"
        self.write_binary(machine=183)

    def write(self, name: str, text: str) -> None:
        """A file of the state folder."""
        (self.folder / name).write_text(text)

    def executable(self, path: pathlib.Path, body: str) -> None:
        """A shell script."""
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def set_devices(self, **states: str) -> None:
        """What `adb devices` lists."""
        self.write("scenario.json", json.dumps({"devices": states}))

    def write_binary(self, machine: int) -> None:
        """A file with the head of an ELF program for this machine number."""
        self.binary.write_bytes(
            b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 3, machine, 1) + bytes(40)
        )

    def calls(self, verb: str) -> list[list[str]]:
        """Arguments of the calls with this verb so far."""
        lines = (self.folder / "log.txt").read_text().splitlines()
        return [c for c in map(json.loads, lines) if verb in c]

    def runs(self) -> list[str]:
        """Arguments of every benchmark that ran."""
        path = self.folder / "runs.txt"
        return path.read_text().splitlines() if path.exists() else []
