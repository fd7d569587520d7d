"""A running Airflow as people use it: what it refuses, who is told of a failure, what it notes, and who approves."""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from behavior_tasks.cli import airflow_api
from behavior_tasks.cli.airflow import DAG_ID, password_file
from behavior_tasks.registry import ledger
from behavior_tasks.watch.tell import WEBHOOK
from tests.hook import hook
from tests.shop import TINY
from tests.up import Up, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]
EASY = {"gate.margin": 1, "gate.min_f1": 0, "gate.min_positives": 1, "gate.max_ece": 1, "gate.slice_drop": 1}
"""Limits that any model that beats the prior keeps, so that a promotion is asked about."""
TASK = "registry.approval"
WAITING = {"awaiting_input", "deferred"}


@pytest.fixture
def hooked() -> Iterator[tuple[str, list[dict[str, Any]], list[int]]]:
    with hook(failures=2) as made:
        yield made


@pytest.fixture
def up(tmp_path: Path, hooked: tuple[str, list[dict[str, Any]], list[int]]) -> Iterator[Up]:
    running = Up(tmp_path, **{WEBHOOK: hooked[0]})
    yield running
    if running.process.poll() is None:
        running.stop(signal.SIGTERM)


def notes(client: httpx.Client, run_id: str) -> dict[str, str | None]:
    """Return the note of every task, and under "" the run's own."""
    run = client.get(f"/dags/{DAG_ID}/dagRuns/{run_id}").json()
    found = client.get(f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances", params={"limit": 100}).json()
    return {"": run["note"], **{task["task_id"]: task["note"] for task in found["task_instances"]}}


def states(client: httpx.Client, run_id: str) -> dict[str, str]:
    found = client.get(f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances", params={"limit": 100}).json()
    return {task["task_id"]: task["state"] for task in found["task_instances"]}


def wrong_forms_start_nothing(client: httpx.Client) -> None:
    asked = {"logical_date": None, "conf": {"train.epochs": 0, "gate.min_f1": 7, "train.epoch": 1}}
    refused = client.post(f"/dags/{DAG_ID}/dagRuns", json=asked)
    assert refused.status_code == 400
    assert all(word in refused.json()["detail"] for word in ("train.epochs: 0", "gate.min_f1: 7", "train.epoch: un"))
    stranger = httpx.post(f"{client.base_url}dags/{DAG_ID}/dagRuns", json=asked)
    assert (stranger.status_code, "train" in stranger.text) == (401, False)
    assert client.get(f"/dags/{DAG_ID}/dagRuns").json()["dag_runs"] == []


def a_failed_run_is_told_once(client: httpx.Client, up: Up, taken: list[dict[str, Any]], answered: list[int]) -> None:
    """A configuration file lies where the tasks run, so the first task is the one to refuse it."""
    run = airflow_api.trigger(client, DAG_ID, {"config_file": str(up.home.root / "no.yaml")}, datetime.now(UTC))
    wait_until(lambda: taken, seconds=300)
    assert answered == [503, 503, 200]
    (told,) = taken
    assert (told["dag"], told["stage"], told["run"]) == (DAG_ID, "start", run)
    assert "There is no configuration file no.yaml." in told["why"]
    assert told["link"].startswith(f"{up.airflow}/dags/{DAG_ID}/runs/manual__")
    assert str(up.home.root) not in json.dumps(told)
    found = notes(client, run)
    assert "no.yaml" in str(found["start"])
    assert str(found[""]).startswith("refused before anything ran: There is no configuration file no.yaml.")


def test_who_does_not_answer_keeps_and_who_says_yes_stands_in_the_ledger(
    up: Up, hooked: tuple[str, list[dict[str, Any]], list[int]]
) -> None:
    up.wait_until_ready()
    password = json.loads(password_file(up.home).read_text())["admin"]
    asked = {**TINY, **EASY, "gate.approval": "required"}
    with airflow_api.connect(up.airflow, "admin", password) as client:
        wait_until(lambda: client.get(f"/dags/{DAG_ID}").is_success, seconds=120)
        wrong_forms_start_nothing(client)
        a_failed_run_is_told_once(client, up, *hooked[1:])

        def ended(run_id: str) -> bool:
            return airflow_api.state(client, DAG_ID, run_id) not in airflow_api.UNFINISHED

        night = datetime(2026, 11, 23, 2, tzinfo=UTC)
        silent = airflow_api.trigger(client, DAG_ID, {**asked, "gate.approval_hours": 0.003}, night)
        wait_until(lambda: ended(silent), seconds=500)
        found = states(client, silent)
        assert airflow_api.state(client, DAG_ID, silent) == "success"
        assert (found[TASK], found["registry.promote"]) == ("success", "skipped")
        assert ledger.read(up.home) == []
        noted = notes(client, silent)
        assert "rows →" in str(noted["data.ingest"])
        assert "F1 on test: language model 0." in str(noted["verdict.evaluate"])
        assert "nobody answered" in str(noted["registry.promote"]), "why it was skipped"
        assert str(noted[""]).startswith("keep: ")
        assert [task for task, text in noted.items() if not text] == ["open_tracking", "close_tracking"]
        page = f"/dags/{DAG_ID}/dagRuns/{silent}/taskInstances/registry.register/links"
        links = client.get(page).json()["extra_links"]
        assert links["Report"].startswith(f"{up.mlflow}/#/experiments/")
        assert links["Registered version"] == f"{up.mlflow}/#/models/behavior/versions/1"

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
        assert str(notes(client, second)[""]).startswith("promoted as version ")
    assert len(hooked[1]) == 1, "a kept champion is no failure"
    (line,) = ledger.read(up.home)
    assert line["who"] == "admin"
    assert "the figures hold" in line["why"]
