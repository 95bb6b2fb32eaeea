"""Fixtures of the latency tests."""

import pytest

from tests.latency.stand_in_phone import StandInPhone


@pytest.fixture
def stand_in_phone(tmp_path) -> StandInPhone:
    """A Pixel 2 that works."""
    return StandInPhone(tmp_path / "phone")


@pytest.fixture
def models(tmp_path):
    """Three files that pass for models, of 1000, 2500 and 4000 bytes."""
    made = {}
    for name, size in (("a", 1000), ("b", 2500), ("c", 4000)):
        made[name] = tmp_path / f"model_{name}.tflite"
        made[name].write_bytes(b"\x1c\0\0\0TFL3" + bytes(size - 8))
    return made
