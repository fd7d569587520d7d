"""The served shop, made once for all tests of a process, whatever room they are about."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.serve.world import ServedShop


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> "ServedShop":
    """A served shop; nothing in its state folder may be changed."""
    from tests.serve.world import make_shop  # what it needs takes seconds to import

    return make_shop(tmp_path_factory.mktemp("served") / "home")
