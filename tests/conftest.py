"""What tests of several rooms share."""

import os
import pathlib
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
