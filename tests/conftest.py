"""What all tests share: the served shop, made once in a process, and the order of the files."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.serve.world import ServedShop

DEAREST = (
    "cluster/",
    # of the slow tests
    *("test_benchmarks.py", "pipeline/test_audit.py", "dags/test_whole_run.py", "test_replay.py"),
    *("dags/test_approval_live.py", "cli/test_services.py", "pipeline/test_engines.py", "pipeline/test_tuning.py"),
    *("dags/test_behavior_scoring.py", "dags/test_behavior_tuning.py", "registry/test_server.py", "docs/", "web/"),
    # of the default ones
    *("cli/test_commands.py", "registry/test_package.py", "model/test_train_process.py", "model/test_train.py"),
    *("data/test_kill.py", "model/test_trainer.py"),
)
"""Files and folders that take longest. Begun last, one of them would keep a single worker busy at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the dearest files first; within a file, and among the others, the order stays."""

    def place(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((n for n, name in enumerate(DEAREST) if f"/tests/{name}" in path), len(DEAREST))

    items.sort(key=place)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> "ServedShop":
    """A served shop; nothing in its state folder may be changed."""
    from tests.serve.world import make_shop  # what it needs takes seconds to import

    return make_shop(tmp_path_factory.mktemp("served") / "home")
