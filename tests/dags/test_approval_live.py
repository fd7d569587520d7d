"""A promotion that waits for a person, in a running Airflow: no answer in time keeps, a yes promotes in their name."""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from behavior_tasks.cli import airflow_api
from behavior_tasks.cli.airflow import DAG_ID, password_file
from behavior_tasks.registry import ledger
from tests.shop import TINY
from tests.up import Up, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
EASY = {"gate.margin": 1, "gate.min_f1": 0, "gate.min_positives": 1, "gate.max_ece": 1, "gate.slice_drop": 1}
"""Limits that any model that beats the prior keeps, so that a promotion is asked about."""
TASK = "registry.approval"
WAITING = {"awaiting_input", "deferred"}


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path)
    yield running
    if running.process.poll() is None:
        running.stop(signal.SIGTERM)


def states(client: httpx.Client, run_id: str) -> dict[str, str]:
    found = client.get(f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances", params={"limit": 100}).json()
    return {task["task_id"]: task["state"] for task in found["task_instances"]}


def test_who_does_not_answer_keeps_and_who_says_yes_stands_in_the_ledger(up: Up) -> None:
    up.wait_until_ready()
    password = json.loads(password_file(up.home).read_text())["admin"]
    asked = {**TINY, **EASY, "gate.approval": "required"}
    with airflow_api.connect(up.airflow, "admin", password) as client:
        wait_until(lambda: client.get(f"/dags/{DAG_ID}").is_success, seconds=120)

        def ended(run_id: str) -> bool:
            return airflow_api.state(client, DAG_ID, run_id) not in airflow_api.UNFINISHED

        night = datetime(2026, 11, 23, 2, tzinfo=UTC)
        silent = airflow_api.trigger(client, DAG_ID, {**asked, "gate.approval_hours": 0.003}, night)
        wait_until(lambda: ended(silent), seconds=500)
        found = states(client, silent)
        assert airflow_api.state(client, DAG_ID, silent) == "success"
        assert (found[TASK], found["registry.promote"]) == ("success", "skipped")
        assert ledger.read(up.home) == []

        second = airflow_api.trigger(client, DAG_ID, asked, datetime(2026, 11, 24, 2, tzinfo=UTC))
        wait_until(lambda: states(client, second).get(TASK) in WAITING or ended(second), seconds=300)
        question = f"/dags/{DAG_ID}/dagRuns/{second}/taskInstances/{TASK}/-1/hitlDetails"
        wait_until(lambda: client.get(question).is_success, seconds=30)
        shown = client.get(question).json()
        assert "may the new" in shown["subject"]
        assert "F1" in shown["body"]
        answer = {"chosen_options": ["Approve"], "params_input": {"why": "the figures hold"}}
        client.patch(question, json=answer).raise_for_status()
        wait_until(lambda: ended(second), seconds=200)
        assert states(client, second)["registry.promote"] == "success"
    (line,) = ledger.read(up.home)
    assert line["who"] == "admin"
    assert "the figures hold" in line["why"]
