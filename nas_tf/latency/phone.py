"""Timing `.tflite` models on an Android phone with TFLite's native `benchmark_model`."""

import dataclasses
import hashlib
import pathlib
import re
import struct
import time
from collections.abc import Mapping

from nas_tf.base.errors import UserError, require
from nas_tf.base.interpreter import DEFAULT_KERNELS, require_kernels
from nas_tf.latency.adb import Adb
from nas_tf.latency.benchmark_output import excerpt, marked_command, parse_run, ran_with_xnnpack, split_marked
from nas_tf.latency.host import require_model_file
from nas_tf.latency.timing import Samples

# Where adb may both write and execute.
FOLDER = "/data/local/tmp/nas_tf_benchmark"
_BINARY = "benchmark_model"
# Android's name of an architecture → e_machine of its executables (ELF specification).
_ELF_MACHINES = {"arm64-v8a": 183, "armeabi-v7a": 40, "armeabi": 40, "x86_64": 62, "x86": 3}
_SECONDS_PER_MODEL = 180  # after which a phone is taken for lost
_COOLING_POLL_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class AdbConfig:
    """How models run on a phone.

    Attributes:
      binary: the `benchmark_model` for the phone's architecture, a file on this machine.
      serial: which device; "" for the only one.
      adb_path: the `adb` program.
      cpu_mask: cores to run on, hexadecimal as for `taskset` (f0: cores 4–7, the large ones of
        a Pixel 2); "" for all.
      kernels: of `nas_tf.base.interpreter.KERNELS`.
      num_runs: inferences of a model each time that it is its turn, after `warmup_runs`.
      max_temperature_c: hotter than this, the next turn waits for the battery to cool down.
      max_cooling_seconds: after which waiting ends in an error.
    """

    binary: str
    serial: str = ""
    adb_path: str = "adb"
    cpu_mask: str = ""
    num_threads: int = 1
    kernels: str = DEFAULT_KERNELS
    num_runs: int = 10
    warmup_runs: int = 5
    max_temperature_c: float = 38.0
    max_cooling_seconds: float = 900.0

    def __post_init__(self) -> None:
        require(
            bool(self.binary),
            "--backend=adb needs --benchmark_binary, TFLite's native benchmark_model built for the phone.",
        )
        require(pathlib.Path(self.binary).is_file(), f"There is no --benchmark_binary={self.binary!r}.")
        require(
            re.fullmatch(r"[0-9a-fA-F]{0,16}", self.cpu_mask) is not None,
            f"--adb_cpu_mask={self.cpu_mask!r} must be hexadecimal, such as f0.",
        )


class Phone:
    """A phone with the binary on it; models are copied once and stay until `close`."""

    batch_size = 16  # models of one command, which are lost if the phone goes meanwhile

    def __init__(self, config: AdbConfig):
        self._config = config
        self._adb = Adb(config.adb_path, config.serial)
        self._properties = self._read_properties()
        self._require_binary_fits()
        self._remote: dict[pathlib.Path, str] = {}
        self.hottest_c = 0.0
        self._delegate_seen = False
        # Also what a killed run left behind.
        self._adb.shell(f"rm -rf {FOLDER}; mkdir -p {FOLDER}")
        try:
            self._install_binary()
        except BaseException:  # Ctrl-C too leaves nothing on the phone
            self.close()
            raise

    def identity_fields(self) -> dict:
        """What a table measured on this phone says of its origin."""
        # By content, because a file of this name may be of any version.
        digest = hashlib.sha256(pathlib.Path(self._config.binary).read_bytes()).hexdigest()
        known = self._properties
        return {
            "device": known["model"],
            "backend": "adb",
            "runtime": f"benchmark_model {digest[:12]}",
            "kernels": self._config.kernels,
            "num_threads": self._config.num_threads,
            "details": {
                "android": known["release"],
                "build": known["build"],
                "abi": known["abi"],
                "cores": known["cores"],
                "cpu_mask": self._config.cpu_mask or "all",
                "hottest_c": self.hottest_c,
                "delegate": self._delegate(),
            },
        }

    def time_round(self, models: Mapping[str, pathlib.Path]) -> Samples:
        """One turn of every model in one command; its samples are one typical latency in ms."""
        self._push([path for path in models.values() if path not in self._remote])
        self._wait_until_cool()
        command = "; ".join(
            marked_command(self._remote[path], self._command(self._remote[path])) for path in models.values()
        )
        output = self._adb.shell(f"cd {FOLDER}; {command}", timeout=60 + _SECONDS_PER_MODEL * len(models))
        return self._samples(models, output)

    def use_kernels(self, kernels: str) -> None:
        """Runs models with these kernels from now on."""
        require_kernels(kernels)
        self._config = dataclasses.replace(self._config, kernels=kernels)
        self._delegate_seen = False

    def close(self) -> None:
        """Removes everything from the phone; a phone that is gone is cleaned at the next run."""
        try:
            self._adb.shell(f"rm -rf {FOLDER}")
        except UserError:
            pass

    def _samples(self, models: Mapping[str, pathlib.Path], output: str) -> Samples:
        runs, samples = split_marked(output), {}
        # Asked first, so that a lost phone is said to be lost and no model to be at fault.
        if len(runs) < len(models):
            self._adb.require_present()
        for name, path in models.items():
            remote = self._remote[path]
            require(
                remote in runs,
                f"The device {self._adb.serial} stopped before it had run {name}: {excerpt(output)!r}.",
            )
            text, status = runs[remote]
            require(
                status == 0, f"benchmark_model failed on {name} with exit status {status}: {excerpt(text)!r}."
            )
            samples[name] = [parse_run(text, name).typical_ms]
            self._check_delegate(text, name)
        return samples

    def _check_delegate(self, text: str, name: str) -> None:
        """Refuses timings that are not of the kernels asked for, as far as the output tells."""
        wanted, found = self._config.kernels == "xnnpack", ran_with_xnnpack(text)
        require(
            found is None or found == wanted,
            f"benchmark_model was asked for --kernels={self._config.kernels}, but says that it ran {name} "
            f"with{'' if found else 'out'} XNNPACK: {excerpt(text)!r}; build it with XNNPACK, or give "
            f"--kernels={'xnnpack' if found else 'builtin'}.",
        )
        self._delegate_seen |= bool(found)

    def _delegate(self) -> str:
        """What ran the models, in words; binaries of 2020 and before do not say."""
        if self._config.kernels != "xnnpack":
            return "none"
        return "XNNPACK" if self._delegate_seen else "XNNPACK asked for, not confirmed by benchmark_model"

    def _command(self, remote: str) -> str:
        own = self._config
        pin = f"taskset {own.cpu_mask} " if own.cpu_mask else ""
        return (
            f"{pin}./{_BINARY} --graph={remote} --num_threads={own.num_threads} "
            f"--warmup_runs={own.warmup_runs} --num_runs={own.num_runs} "
            # Without these two a turn takes at least 1.5 s however fast the model is.
            "--warmup_min_secs=0.1 --min_secs=0.1 "
            f"--use_xnnpack={'true' if own.kernels == 'xnnpack' else 'false'}"
        )

    def _push(self, paths: list[pathlib.Path]) -> None:
        """Copies models in one go; files of one name in different folders are told apart."""
        fresh: dict[str, pathlib.Path] = {}
        for path in dict.fromkeys(paths):
            require_model_file(path)
            require(
                re.fullmatch(r"[\w.\-]+", path.name) is not None,
                f"The model's file name {path.name!r} may have letters, digits and . _ - only.",
            )
            require(
                path.name not in fresh and path.name not in self._remote.values(),
                f"Two models are called {path.name!r}.",
            )
            fresh[path.name] = path
        if fresh:
            self._adb.push(list(fresh.values()), f"{FOLDER}/")
            self._remote |= {path: name for name, path in fresh.items()}

    def _install_binary(self) -> None:
        self._adb.push([pathlib.Path(self._config.binary)], f"{FOLDER}/{_BINARY}")
        output = self._adb.shell(f"cd {FOLDER}; chmod 755 {_BINARY}; ./{_BINARY} --help 2>&1")
        broken = re.search(
            r"not executable|Exec format error|CANNOT LINK EXECUTABLE|"
            r"Permission denied|No such file|not found",
            output,
        )
        require(
            not broken,
            f"The device {self._adb.serial} ({self._properties['abi']}) cannot run "
            f"--benchmark_binary={self._config.binary!r}: {excerpt(output)!r}.",
        )
        if self._config.cpu_mask:
            output = self._adb.shell(f"taskset {self._config.cpu_mask} true; echo status $?")
            require(
                "status 0" in output,
                f"The device {self._adb.serial} refuses --adb_cpu_mask="
                f"{self._config.cpu_mask!r}: {excerpt(output)!r}.",
            )

    def _read_properties(self) -> dict[str, str]:
        names = {
            "model": "getprop ro.product.model",
            "build": "getprop ro.build.fingerprint",
            "release": "getprop ro.build.version.release",
            "abi": "getprop ro.product.cpu.abi",
            "cores": "nproc",
        }
        output = self._adb.shell("; ".join(marked_command(n, c) for n, c in names.items()))
        answers = {name: text.strip() for name, (text, _) in split_marked(output).items()}
        require(
            answers.keys() == names.keys() and all(answers.values()),
            f"The device {self._adb.serial} does not answer as Android does: {excerpt(output)!r}.",
        )
        return answers

    def _require_binary_fits(self) -> None:
        """Refuses a binary for another architecture before anything is copied."""
        abi = self._properties["abi"]
        with open(self._config.binary, "rb") as file:
            header = file.read(20)
        named = f"--benchmark_binary={self._config.binary!r}"
        require(len(header) == 20 and header[:4] == b"\x7fELF", f"{named} is not an ELF program.")
        # e_machine; all of Android's architectures are little-endian.
        (machine,) = struct.unpack_from("<H", header, 18)
        built_for = [name for name, value in _ELF_MACHINES.items() if value == machine]
        # A 64-bit phone also runs the 32-bit programs of its family.
        runs = {abi, *{"arm64-v8a": ("armeabi-v7a", "armeabi"), "x86_64": ("x86",)}.get(abi, ())}
        require(
            bool(runs & set(built_for)),
            f"{named} is built for {' or '.join(built_for) or f'ELF machine {machine}'}; the "
            f"device {self._adb.serial} is {abi}.",
        )

    def _wait_until_cool(self) -> None:
        deadline = time.monotonic() + self._config.max_cooling_seconds
        while True:
            celsius = self._temperature_c()
            if celsius is None:
                return
            self.hottest_c = max(self.hottest_c, celsius)
            if celsius <= self._config.max_temperature_c:
                return
            require(
                time.monotonic() < deadline,
                f"The device {self._adb.serial} is still at {celsius:.1f} °C after waiting "
                f"{self._config.max_cooling_seconds:.0f} s for "
                f"{self._config.max_temperature_c:.1f} °C (--adb_max_temperature_c); cool it "
                "and run the same command again to go on.",
            )
            time.sleep(min(_COOLING_POLL_SECONDS, self._config.max_cooling_seconds))

    def _temperature_c(self) -> float | None:
        """The battery's temperature; None where the phone does not tell."""
        # Android reports tenths of a degree.
        match = re.search(r"^\s*temperature:\s*(\d+)\s*$", self._adb.shell("dumpsys battery"), re.MULTILINE)
        return int(match[1]) / 10 if match else None
