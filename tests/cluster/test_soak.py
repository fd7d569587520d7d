"""A training that outlasts its token: renewed while the api-server answers, lost when it is away for too long."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import psutil
import pytest

from behavior_tasks.cli import airflow_api, processes
from behavior_tasks.cli.airflow import DAG_ID
from tests.cluster.conftest import EASY, LONG, TRAIN
from tests.cluster.native import Native, secrets_in, wait_until
from tests.shop import TINY

pytestmark = [pytest.mark.soak, pytest.mark.timeout(5400)]
SOAK_SECONDS = 620
SHORT, OURS = 60, 86_400
"""Lifetimes of a token, in seconds; Airflow's own is 600."""
AWAY_SECONDS = 100
"""How long the api-server does not answer: longer than the short lifetime."""
PATIENT = {
    # What ends the task is to be the token alone: neither the scheduler nor the worker gives up over the silence.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "900",
    "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "60",
}
ENDLESS = {**LONG, "train.epochs": 1000, "simulate.shoppers": 6000, "examples.train_cutoffs": 4}
"""A hundred epochs at least, of some twenty seconds each: the test ends before the training does."""


def lifetime(seconds: int) -> dict[str, str]:
    return {**PATIENT, "AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME": str(seconds)}


def training(client: httpx.Client, run_id: str) -> dict[str, Any]:
    return dict(client.get(f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{TRAIN}").json())


@contextmanager
def api_server_away(native: Native) -> Iterator[None]:
    """Let the api-server stand still for a while."""
    (found,) = (service for service in processes.still_running(native.home) if service.name == "api-server")
    leader = psutil.Process(found.pid)
    family = [leader, *leader.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()


def how(client: httpx.Client, run_id: str) -> tuple[str, int]:
    """Return the training's state and which attempt it is."""
    task = training(client, run_id)
    return task["state"], task["try_number"]


def goes_on(client: httpx.Client, run_id: str, attempt: int) -> bool:
    return how(client, run_id) == ("running", attempt)


def test_a_training_outlasts_its_token(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.nice(19)
    native = Native(secrets_in(tmp_path_factory.mktemp("secrets")))
    try:
        native.up(overrides=lifetime(SHORT))
        with native.client() as client:
            wait_until(lambda: client.get(f"/dags/{DAG_ID}").is_success, seconds=400)
            night = datetime(2026, 11, 23, 2, tzinfo=UTC)
            run_id = airflow_api.trigger(client, DAG_ID, {**TINY, **EASY, **ENDLESS}, night)
            wait_until(lambda: training(client, run_id)["state"] == "running", seconds=1200)
            began = time.monotonic()
            while time.monotonic() - began < SOAK_SECONDS:
                time.sleep(20)
                assert how(client, run_id) == ("running", 1)
            with api_server_away(native):
                time.sleep(AWAY_SECONDS)
            wait_until(lambda: not goes_on(client, run_id, 1), seconds=400)
        native.stop()
        native.up(overrides=lifetime(OURS))
        with native.client() as client:
            again = {"dry_run": False, "task_ids": [TRAIN], "dag_run_id": run_id, "only_failed": False}
            client.post(f"/dags/{DAG_ID}/clearTaskInstances", json=again).raise_for_status()
            wait_until(lambda: training(client, run_id)["state"] == "running", seconds=600)
            attempt = training(client, run_id)["try_number"]
            with api_server_away(native):
                time.sleep(AWAY_SECONDS)
            until = time.monotonic() + AWAY_SECONDS
            while time.monotonic() < until:
                time.sleep(10)
                assert how(client, run_id) == ("running", attempt)
    finally:
        native.remove()
