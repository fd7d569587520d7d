"""One identity key for all state folders of these tests, so that two of them can be compared."""

from collections.abc import Iterator

import pytest

from behavior_tasks.data.keys import KEY_VARIABLE


@pytest.fixture(autouse=True, scope="module")
def one_key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, "7a" * 32)
        yield
