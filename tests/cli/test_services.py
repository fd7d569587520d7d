"""`behavior up`, for real: both pages answer, a run is triggered over REST, and Ctrl-C leaves nothing running."""

import json
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest

from behavior_tasks.cli import airflow_api, services
from behavior_tasks.cli.airflow import DAG_ID, PROJECT, password_file, run_dag
from tests.browser import run_chromium
from tests.shop import TINY
from tests.up import UP, Up, wait_until


def rendered(url: str, folder: Path) -> str:
    """Return a page as Chromium shows it, once its scripts have run."""
    return run_chromium(url, folder, "--virtual-time-budget=20000", "--dump-dom")


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    made: list[Up] = []

    def start(**settings: str) -> Up:
        made.append(Up(tmp_path, **settings))
        return made[-1]

    yield start
    for up in made:
        if up.process.poll() is None:
            up.stop(signal.SIGTERM)


def nobody_left(family: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)


@pytest.mark.slow
def test_up_serves_both_pages_runs_the_dag_and_leaves_nothing(started: Callable[..., Up]) -> None:
    up = started()
    up.wait_until_ready()
    health = httpx.get(f"{up.airflow}/api/v2/monitor/health").json()
    assert {health[part]["status"] for part in ("metadatabase", "scheduler", "dag_processor", "triggerer")} == {
        "healthy"
    }
    assert httpx.get(f"{up.mlflow}/health").is_success
    # A page elsewhere must not reach MLflow by pointing its own name at this machine.
    assert httpx.get(f"{up.mlflow}/", headers={"Host": "elsewhere.example"}).status_code == 403
    assert {c.laddr.ip for p in up.family for c in p.net_connections(kind="inet") if c.status == "LISTEN"} == {
        "127.0.0.1"
    }
    password = json.loads(password_file(up.home).read_text())["admin"]
    assert up.airflow in up.said
    assert up.mlflow in up.said
    assert password not in up.said
    assert not any(password in log.read_text() for log in up.home.services.glob("*.log"))

    again = subprocess.run(UP, env=up.environment, capture_output=True, text=True, check=True)
    assert "Running already" in again.stdout
    assert up.airflow in again.stdout
    assert len(services.running(up.home)) == 5

    with airflow_api.connect(up.airflow, "admin", password) as client:
        wait_until(lambda: client.get(f"/dags/{DAG_ID}").is_success, seconds=60)
        plugins = {plugin["name"]: plugin for plugin in client.get("/plugins").json()["plugins"]}
        views = {view["name"]: view["href"] for view in plugins["behavior"]["external_views"]}
        assert views["MLflow"] == up.mlflow
        assert "training" in {pool["name"] for pool in client.get("/pools").json()["pools"]}
        run_id = airflow_api.trigger(client, DAG_ID, TINY, datetime(2026, 11, 23, 2, tzinfo=UTC))
        wait_until(lambda: [*up.home.runs.glob("*/stages/simulate.json")], seconds=120)
        assert airflow_api.state(client, DAG_ID, run_id) == "running"
        runs = client.get(f"/dags/{DAG_ID}/dagRuns").json()["dag_runs"]
        assert [run["dag_run_id"] for run in runs] == [run_id], "switching it on must not start a night's run"

    family = up.family
    assert len(family) > 5
    up.stop(signal.SIGINT)
    assert up.process.returncode == 0
    assert "nothing is left running" in up.said
    assert nobody_left(family)
    assert services.running(up.home) == []


def test_a_taken_port_is_named_with_a_free_one(started: Callable[..., Up]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        up = started(BEHAVIOR_AIRFLOW_PORT=str(taken.getsockname()[1]))
        up.process.wait(60)
    assert up.process.returncode == 2
    assert "BEHAVIOR_AIRFLOW_PORT" in up.said
    assert "make up" in up.said
    assert "Traceback" not in up.said
    assert services.running(up.home) == []


@pytest.mark.slow
def test_a_part_that_dies_is_shown_with_its_last_words_and_takes_the_rest_along(started: Callable[..., Up]) -> None:
    up = started(AIRFLOW__CORE__EXECUTOR="NoSuchExecutor")
    wait_until(lambda: services.running(up.home), seconds=60)
    family = up.family
    up.process.wait(120)
    assert up.process.returncode == 2
    assert "airflow scheduler ended unexpectedly" in up.said
    assert "NoSuchExecutor" in up.said
    assert "services/airflow-scheduler.log" in up.said
    assert nobody_left(family)


@pytest.mark.timeout(1800)
@pytest.mark.soak
def test_while_it_is_up_a_run_goes_to_its_scheduler_and_stands_in_both_pages(started: Callable[..., Up]) -> None:
    up = started()
    up.wait_until_ready()
    seen: list[str | None] = []
    when = datetime(2026, 11, 23, 2, tzinfo=UTC)
    result = run_dag(up.home, PROJECT, TINY, logical_date=when, on_tick=seen.append)
    assert result.returncode == 0
    assert result.log is None
    assert set(seen) == {None, result.run_id}
    experiments = httpx.post(f"{up.mlflow}/api/2.0/mlflow/experiments/search", json={"max_results": 10}).json()
    ids = [one["experiment_id"] for one in experiments["experiments"]]
    runs = httpx.post(f"{up.mlflow}/api/2.0/mlflow/runs/search", json={"experiment_ids": ids}).json()["runs"]
    assert [run["info"]["status"] for run in runs] == ["FINISHED"]
    password = json.loads(password_file(up.home).read_text())["admin"]
    with airflow_api.connect(up.airflow, "admin", password) as client:
        found = client.get(f"/dags/{DAG_ID}/dagRuns/~/taskInstances").json()["task_instances"]
        assert {task["state"] for task in found} <= {"success", "skipped"}
        run = found[0]["dag_run_id"]
        links = client.get(f"/dags/{DAG_ID}/dagRuns/{run}/taskInstances/open_tracking/links").json()["extra_links"]
    assert links == {"MLflow run": f"{up.mlflow}/#/runs/{runs[0]['info']['run_id']}"}
    page = rendered(links["MLflow run"], up.home.root.parent)
    for shown in (runs[0]["info"]["run_name"], "test_f1", "test_hash", "Finished"):
        assert shown in page
