"""What tests of the whole search share."""

import pytest

from nas_tf.space.search_space import SPACES
from tests.search.helpers import MICRO, write_table


@pytest.fixture(scope="module")
def micro_space():
    """Registers the two-block space while a file's tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, MICRO.name, MICRO)
        yield


@pytest.fixture(scope="module")
def table(micro_space, tmp_path_factory) -> str:
    """A latency table of the two-block space at 16 pixels."""
    return write_table(tmp_path_factory.mktemp("table") / "table.json", resolution=16)
