"""What tests of several rooms share."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Real data and published weights kept beside the repository; skips where they are absent."""
    path = REPOSITORY.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("needs ../shared/data beside the repository")
    return path


def _seed() -> None:
    """Makes initial weights and NumPy's global draws the same in every run, in any order of tests."""
    # Whoever builds a network imports Keras at the top of its file; others need not wait for it.
    if "tf_keras" in sys.modules:
        sys.modules["tf_keras"].utils.set_random_seed(1)


@pytest.fixture(scope="module", autouse=True)
def _seeded_module():
    _seed()


@pytest.fixture(autouse=True)
def _seeded_test():
    _seed()


class FakeTime:
    """Stands for `time` where working time is measured; `seconds` passes when a test says so."""

    def __init__(self):
        self.seconds = 0

    def monotonic(self) -> float:
        """The time now."""
        return self.seconds


@pytest.fixture
def fake_time(monkeypatch) -> FakeTime:
    """A clock that stands still."""
    fake = FakeTime()
    monkeypatch.setattr("nas_tf.base.clock.time", fake)
    return fake


@pytest.fixture
def sigterm(monkeypatch):
    """Handles SIGTERM as commands do, and returns what sends it to this process."""
    from nas_tf.base import stopping

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(stopping._State, "asked", False)
    stopping.listen()
    yield lambda: os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)


class SmallDisk:
    """A file system of its own that can be filled."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    def fill(self, leave: int = 0) -> None:
        """Leaves so many bytes free."""
        free = shutil.disk_usage(self.path).free - leave
        (self.path / "full").write_bytes(bytes(max(0, free)))

    def empty(self) -> None:
        """Removes what filled it."""
        (self.path / "full").unlink()


@pytest.fixture
def small_disk(tmp_path):
    """Four megabytes in memory; skips where mounting them is not allowed."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a full disk needs the right to mount one")
    yield SmallDisk(path)
    subprocess.run(["umount", "-l", str(path)], check=False)
