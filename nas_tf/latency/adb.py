"""Talking to one Android device through the `adb` program."""

import pathlib
import re
import subprocess
from collections.abc import Sequence

from nas_tf.base.errors import UserError, require
from nas_tf.latency.benchmark_output import excerpt

_STATES = {
    "unauthorized": "is unauthorised: unlock it and allow USB debugging for this computer",
    "offline": "is offline: replug it, or run `adb reconnect`",
    "no permissions": "may not be opened by this user: check the udev rules for the device",
    "recovery": "is in recovery mode: start Android on it",
    "sideload": "is in sideload mode: start Android on it",
    "bootloader": "is in its bootloader: start Android on it",
    "authorizing": "is still authorising: try again in a moment",
    "connecting": "is still connecting: try again in a moment",
}
# What adb says where a device that was there is gone.
_LOST = re.compile(
    r"device '[^']*' not found|device offline|device not found|no devices/emulators found"
    r"|error: closed|device still (?:authorizing|connecting)|protocol fault|connection reset",
    re.IGNORECASE,
)
_TIMEOUT_SECONDS = 60


class Adb:
    """Commands to one device.

    Args:
      program: `adb` itself, a name on the path or a file.
      serial: which device; "" for the only one.

    Raises:
      UserError: no such program, no device, several and no serial, or a device that is not
        ready, each in its own words.
    """

    def __init__(self, program: str = "adb", serial: str = ""):
        self._program = program
        self.serial = self._choose(serial)

    def shell(self, command: str, timeout: float = _TIMEOUT_SECONDS) -> str:
        """Output of a shell command on the device.

        Its exit status is not looked at: phones before Android 7 say 0 whatever happened.
        """
        return self._device("shell", command, timeout=timeout).stdout

    def push(self, sources: Sequence[pathlib.Path], target: str) -> None:
        """Copies files to a folder of the device in one go."""
        result = self._device("push", *map(str, sources), target, timeout=600)
        require(
            result.returncode == 0,
            f"Could not copy {len(sources)} file(s) to {target!r} on the device "
            f"{self.serial}: {excerpt(result.stdout + result.stderr)}.",
        )

    def require_present(self) -> None:
        """Raises `UserError` if the device has gone."""
        states = parse_devices(self._run("devices", timeout=_TIMEOUT_SECONDS).stdout)
        if states.get(self.serial) != "device":
            raise self._lost(states.get(self.serial, "no longer listed"))

    def _lost(self, how: str) -> UserError:
        return UserError(
            f"The device {self.serial} was lost ({how}); connect it and run the same command again to go on."
        )

    def _device(self, *arguments: str, timeout: float) -> subprocess.CompletedProcess:
        result = self._run("-s", self.serial, *arguments, timeout=timeout)
        if result.returncode != 0 and _LOST.search(result.stderr):
            raise self._lost(excerpt(result.stderr))
        return result

    def _run(self, *arguments: str, timeout: float) -> subprocess.CompletedProcess:
        try:
            # No standard input: `adb shell` would read what is typed or piped into this command.
            return subprocess.run(
                [self._program, *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except FileNotFoundError as error:
            raise UserError(
                f"There is no {self._program!r}; install Android's platform-tools, "
                "or say with --adb_path where adb is."
            ) from error
        except PermissionError as error:
            raise UserError(f"{self._program!r} cannot be executed.") from error
        except subprocess.TimeoutExpired as error:
            raise UserError(
                f"{self._program!r} {arguments[-1][:40]!r} gave no answer within "
                f"{timeout:.0f} s; is the device still there?"
            ) from error

    def _choose(self, serial: str) -> str:
        result = self._run("devices", timeout=_TIMEOUT_SECONDS)
        require(
            result.returncode == 0,
            f"`{self._program} devices` failed: {excerpt(result.stderr + result.stdout)}.",
        )
        states = parse_devices(result.stdout)
        require(bool(states), "No Android device is connected; connect one with USB debugging switched on.")
        listed = ", ".join(f"{name} ({state})" for name, state in states.items())
        if serial:
            require(serial in states, f"--adb_serial={serial!r} is not connected; connected are: {listed}.")
        else:
            require(
                len(states) == 1,
                f"{len(states)} devices are connected ({listed}); choose one with --adb_serial.",
            )
            serial = next(iter(states))
        if states[serial] != "device":
            # What adb says of a state may go on, as in `no permissions (…); see …`.
            reason = next(
                (text for state, text in _STATES.items() if states[serial].startswith(state)),
                f"is in the state {states[serial]!r}",
            )
            raise UserError(f"The device {serial} {reason}.")
        return serial


def parse_devices(output: str) -> dict[str, str]:
    """Serial → state, from the output of `adb devices`."""
    # Before this line adb may tell that it starts its server.
    _, _, listing = output.partition("List of devices attached")
    found = {}
    for line in listing.splitlines():
        serial, _, state = line.strip().partition("\t")
        if state:
            found[serial] = state.strip()
    return found
