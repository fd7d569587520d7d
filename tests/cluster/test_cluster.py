"""The cluster of docker-compose.yaml, natively: a night full of faults ends with a champion that can be served."""

import httpx
import pytest

from behavior_tasks.registry import ledger
from tests.cluster.conftest import TRAIN, Night

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
STARTS = "::group::Pre Execute"
"""What a task's log begins with, each time that the task is begun."""


def test_nobody_gets_in_without_a_password(night: Night) -> None:
    api, search = f"{night.native.airflow}/api/v2/dags", f"{night.native.mlflow}/api/2.0/mlflow/experiments/search"
    assert httpx.get(api).status_code == 401
    wrong = {"username": "admin", "password": "wrong"}
    assert httpx.post(f"{night.native.airflow}/auth/token", json=wrong).status_code == 401
    question = {"max_results": 1}
    assert httpx.post(search, json=question).status_code == 401
    assert httpx.post(search, json=question, auth=("behavior", "wrong")).status_code == 401
    right = ("behavior", night.native.values["MLFLOW_BEHAVIOR_PASSWORD"])
    assert httpx.post(search, json=question, auth=right).status_code == 200
    # MLflow answers to no other name than its own.
    assert httpx.post(search, json=question, headers={"Host": "evil.example"}, auth=right).status_code == 403


def test_the_night_ends_green(night: Night) -> None:
    ended = {name: task["state"] for name, task in night.tasks.items()}
    assert night.state == "success", ended
    assert ended["registry.promote"] == "success"


def test_the_training_has_a_queue_and_a_pool_of_its_own(night: Night) -> None:
    assert (night.training["queue"], night.training["pool"]) == ("gpu", "training")
    others = {(task["queue"], task["pool"]) for name, task in night.tasks.items() if name != TRAIN}
    assert others == {("default", "default_pool")}


def test_two_schedulers_start_each_task_once_and_a_lost_broker_loses_nothing(night: Night) -> None:
    logs = night.native.home.airflow / "logs" / f"dag_id=behavior_training/run_id={night.run_id}"
    for name, task in night.tasks.items():
        if task["state"] != "success" or name == TRAIN:
            continue
        tries = [path for path in (logs / f"task_id={name}").glob("*.log") if path.stat().st_size]
        assert 1 <= len(tries) <= task["try_number"], name
        assert [log.read_text().count(STARTS) for log in tries] == [1] * len(tries), name


def test_a_killed_worker_is_replaced_and_the_training_goes_on_from_its_checkpoint(night: Night) -> None:
    assert night.tasks[TRAIN]["try_number"] > 1
    assert "worker-gpu ended unexpectedly (exit code -9); it is started again" in night.native.said
    (kept,) = (night.native.home.artifacts / "train").glob("*/metrics.jsonl")
    # Each line holds how long its epoch took: an epoch that was computed again would have another.
    assert kept.read_text().splitlines()[: len(night.epochs_before)] == night.epochs_before


def test_what_mlflow_missed_is_delivered_when_it_is_back(night: Night) -> None:
    assert "live.json" in night.waited
    right = ("behavior", night.native.values["MLFLOW_BEHAVIOR_PASSWORD"])
    api = f"{night.native.mlflow}/api/2.0/mlflow"
    (experiment,) = (
        one["experiment_id"]
        for one in httpx.post(f"{api}/experiments/search", json={"max_results": 9}, auth=right).json()["experiments"]
        if one["name"] == "behavior"
    )
    asked = {"experiment_ids": [experiment], "max_results": 9}
    (run,) = httpx.post(f"{api}/runs/search", json=asked, auth=right).json()["runs"]
    assert run["info"]["status"] == "FINISHED"
    params = {"run_id": run["info"]["run_id"], "metric_key": "train_loss"}
    points = httpx.get(f"{api}/metrics/get-history", params=params, auth=right).json()["metrics"]
    steps = sorted(int(point.get("step", 0)) for point in points)
    assert steps == list(range(1, len(steps) + 1)), "an epoch is missing or there twice"
    assert not list((night.native.home.registry / "outbox").glob("[!.]*"))


def test_the_champion_is_served_and_stands_in_the_ledger(night: Night) -> None:
    served = night.native.served()
    assert served["version"] == "1"
    (line,) = ledger.read(night.native.home)
    assert (line["version"], line["run_id"]) == ("1", served["run"])


def test_the_champion_survives_backup_and_restore(night: Night, tmp_path_factory) -> None:
    from tests.cluster.native import Native

    native = night.native
    served = native.served()
    folder = tmp_path_factory.mktemp("backups") / "one"
    native.call("backup", str(folder))
    secrets = [value for name, value in native.values.items() if name.endswith(("PASSWORD", "KEY", "SECRET"))]
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret.encode() in content for secret in secrets), path.name
    native.stop()
    fresh = Native(native.env_file)
    try:
        fresh.call("restore", str(folder))
        fresh.up("mlflow")
        assert fresh.served() == served
        assert ledger.read(fresh.home) == ledger.read(native.home)
    finally:
        fresh.remove()
