"""Registered versions without models, changes of the title in processes of their own, and a kill at any step of one."""

import signal
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.registry import ledger, store, title, versions
from tests.dying import die_before_step

CONFIG = Config()
WHEN = datetime(2026, 11, 23, 2, 15, tzinfo=UTC)
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "mlflow.store.tracking.sqlalchemy_store"])


def client(home: Home) -> MlflowClient:
    uri = store.tracking_uri(home)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def make_versions(home: Home, count: int, **tags: str) -> None:
    """Register versions that have tags and no files."""
    mlflow = client(home)
    if not mlflow.search_registered_models("name = 'behavior'"):
        mlflow.create_registered_model("behavior")
    known = len(mlflow.search_model_versions("name = 'behavior'"))
    for number in range(known + 1, known + count + 1):
        told = {"artifact": f"artifact://train/{number:020x}", "run_id": f"night-{number}", **tags}
        mlflow.create_model_version("behavior", source="file:///nowhere", tags=told)
    with title.hold(home, CONFIG):
        versions._challenge(mlflow, "behavior")


def verdict(version: str, was: str | None) -> dict[str, Any]:
    told = {"decision": "promote", "reason": "promote: it is better", "champion_version": was}
    return told | {"candidate": f"artifact://train/{int(version):020x}", "test_hash": "abc"}


def promote(home: Home, version: str, was: str | None) -> None:
    asked = {"version": version, "verdict": verdict(version, was), "run_id": f"night-{version}"}
    versions.promote(home, CONFIG, **asked, who="nightly", when=WHEN)


def aliases(home: Home) -> dict[str, str]:
    found = client(home).get_registered_model("behavior").aliases
    return {name: str(version) for name, version in found.items()}


def lines(home: Home) -> list[tuple[str, str | None, str | None]]:
    return [(line["kind"], line["from_version"], line["version"]) for line in ledger.read(home)]


STEPS: tuple[tuple[object, str], ...] = (
    (title, "write_durably"),
    (MlflowClient, "set_registered_model_alias"),
    (MlflowClient, "delete_registered_model_alias"),
    (MlflowClient, "set_model_version_tag"),
    (ledger, "append"),
    (MlflowClient, "set_registered_model_tag"),
    (title, "_forget"),
)
"""Whatever of a promotion lasts."""


def promote_and_die(root: str, version: str, was: str | None, survive: int) -> None:
    """Promote in this process, which is killed before the step that follows `survive` others."""
    die_before_step(STEPS, survive)
    promote(Home(Path(root)), version, was)


def promote_when_told(root: str, version: str, was: str | None, barrier: Any, answers: Any) -> None:
    """Promote together with another process, and tell what came of it."""
    barrier.wait(60)
    try:
        promote(Home(Path(root)), version, was)
    except UserError as error:
        answers.put((version, str(error)))
    else:
        answers.put((version, None))


def killed_at(home: Home, version: str, was: str | None, survive: int) -> bool:
    """Whether a promotion in a process of its own was killed, having survived so many steps."""
    process = PROCESSES.Process(target=promote_and_die, args=(str(home.root), version, was, survive))
    process.start()
    process.join(120)
    assert process.exitcode in {0, -signal.SIGKILL}, process.exitcode
    return process.exitcode != 0
