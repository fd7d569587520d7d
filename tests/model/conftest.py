"""A toy and a model trained on it, shared by the tests of this room."""

import pytest

from behavior_tasks.model.work_folder import WorkFolder
from tests.model.toy import Toy, make_toy, make_work, train_here


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return make_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def trained(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> WorkFolder:
    """A finished training on the toy."""
    work = make_work(tmp_path_factory.mktemp("trained") / "work", toy, epochs=30, patience=10)
    assert train_here(work) == 0
    return work
