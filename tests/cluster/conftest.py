"""One cluster for all tests of this folder, and one night in it in which everything happens that may happen."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from behavior_tasks.cli import airflow_api
from behavior_tasks.cli.airflow import DAG_ID
from tests.cluster.native import Native, secrets_in, wait_until
from tests.shop import TINY

EASY = {"gate.margin": 1, "gate.min_f1": 0, "gate.min_positives": 1, "gate.max_ece": 1, "gate.slice_drop": 1}
"""Limits that any model that beats the prior keeps, so that there is a champion."""
LONG = {"train.epochs": 30, "train.patience": 100, "train.checkpoint_steps": 5, "train.threads": 1}
"""A training that lasts for as long as the faults take that befall it."""
TRAIN = "model.train"
OUTAGE_SECONDS = 6


@dataclass
class Night:
    """What was seen in the night."""

    native: Native
    run_id: str = ""
    state: str = ""
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    """The task of the training while it ran first."""
    epochs_before: list[str] = field(default_factory=list)
    """Lines about finished epochs, when the worker was killed."""
    waited: list[str] = field(default_factory=list)
    """Records that waited for MLflow while it was away."""


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """The night, once for all tests: a training that loses the broker, its worker, MLflow and the api-server."""
    native = Native(secrets_in(tmp_path_factory.mktemp("secrets")))
    try:
        native.up("--schedulers", "2")
        yield _go_through(native)
    finally:
        native.remove()


def _go_through(native: Native) -> Night:
    seen = Night(native)
    with native.client() as client:
        wait_until(lambda: client.get(f"/dags/{DAG_ID}").is_success, seconds=400)
        seen.run_id = airflow_api.trigger(
            client, DAG_ID, {**TINY, **EASY, **LONG}, datetime(2026, 11, 23, 2, tzinfo=UTC)
        )
        wait_until(lambda: _task(client, seen.run_id, "data.source")["state"] == "success", seconds=600)
        native.call("stop", "redis")
        time.sleep(OUTAGE_SECONDS)
        native.call("restart", "redis")
        wait_until(lambda: len(_epochs(native)) > 1, seconds=900)
        seen.training = _task(client, seen.run_id, TRAIN)
        seen.epochs_before = _epochs(native)
        native.kill("worker-gpu")
        native.call("stop", "mlflow")
        wait_until(lambda: _task(client, seen.run_id, TRAIN)["state"] == "up_for_retry", seconds=400)
        # The pause before the second try is a minute or two; an engineer who sees it needn't wait either.
        again = {"dry_run": False, "task_ids": [TRAIN], "dag_run_id": seen.run_id, "only_failed": False}
        client.post(f"/dags/{DAG_ID}/clearTaskInstances", json=again).raise_for_status()
        wait_until(lambda: len(_epochs(native)) > len(seen.epochs_before), seconds=600)
        # What is told while it runs is told every ten seconds, and waits once MLflow has not answered.
        wait_until(lambda: "live.json" in _waiting(native) or not _epochs(native), seconds=300)
        seen.waited = _waiting(native)
        native.call("restart", "api-server")
        native.call("restart", "mlflow")
    with native.client() as client:
        wait_until(lambda: airflow_api.state(client, DAG_ID, seen.run_id) not in airflow_api.UNFINISHED, seconds=1200)
        seen.state = airflow_api.state(client, DAG_ID, seen.run_id)
        found = client.get(f"/dags/{DAG_ID}/dagRuns/{seen.run_id}/taskInstances", params={"limit": 100}).json()
        seen.tasks = {task["task_id"]: task for task in found["task_instances"]}
    return seen


def _task(client: httpx.Client, run_id: str, task_id: str) -> dict[str, Any]:
    return dict(client.get(f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task_id}").json())


def _waiting(native: Native) -> list[str]:
    """Return the names of the records that wait for MLflow."""
    return [path.name for path in (native.home.registry / "outbox").glob("*/*.json")]


def _epochs(native: Native) -> list[str]:
    """Return the lines about the finished epochs of the training that goes on."""
    return [line for path in Path(native.home.work / "train").glob("*/metrics.jsonl") for line in _lines(path)]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:  # the training is done
        return []
