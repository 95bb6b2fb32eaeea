"""What tests of several rooms share."""

import os
import pathlib

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
