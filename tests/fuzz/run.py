"""Runs a fuzzing test: by hypothesis as a part of the tests, or by hand over very many inputs."""

import inspect
import os
import random
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.mutate import Make

EXAMPLES = int(os.environ.get("NAS_TF_FUZZ", "0"))
FIRST_SEED = int(os.environ.get("NAS_TF_FUZZ_SEED", "0"))


def fuzz(make: Make, *others: st.SearchStrategy) -> Callable:
    """Gives a test `content`, and the fixture `folder` if it asks for it.

    Args:
      make: an input by a source of random numbers; hypothesis draws the seed.
      *others: inputs that hypothesis makes by itself, whose own work would take most of the time of
        a run by hand.
    """

    def decorate(test: Callable) -> Callable:
        if not EXAMPLES:
            seeded = st.integers(0, 2**48).map(lambda seed: make(random.Random(seed)))
            return given(content=st.one_of(seeded, *others))(test)
        if "folder" in inspect.signature(test).parameters:

            def by_hand(folder):
                _loop(lambda content: test(folder, content), make)
        else:

            def by_hand():
                _loop(test, make)

        by_hand.__name__ = test.__name__
        return by_hand

    return decorate


def _loop(test: Callable[[Any], None], make: Make) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + EXAMPLES):
        content = make(random.Random(seed))
        try:
            test(content)
        except Exception as error:
            raise AssertionError(f"NAS_TF_FUZZ_SEED={seed} NAS_TF_FUZZ=1: {content!r:.2000}") from error
