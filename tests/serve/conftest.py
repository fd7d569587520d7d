"""The served shop, made once for all tests of a process."""

import pytest

from tests.serve.world import ServedShop, make_shop


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> ServedShop:
    """A served shop; nothing in its state folder may be changed."""
    return make_shop(tmp_path_factory.mktemp("served") / "home")
