"""The DAG behavior_tuning: loads as lightly as the other, maps its work over workers, runs whole on a tiny shop."""

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from behavior_tasks.base.config import SERVING_SECTIONS, load_config, setting_keys
from behavior_tasks.base.form_words import in_order
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.cli.airflow import AIRFLOW, PROJECT, airflow_environment, ensure_database
from behavior_tasks.model.study import Study
from behavior_tasks.model.trials import finished
from behavior_tasks.registry import store
from tests.shop import TINY

SEARCH = {"train.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}}
TUNING = {"tuning.study": "tiny", "tuning.trials": 2, "tuning.workers": 2, "tuning.search": SEARCH}


@pytest.fixture(scope="module")
def dag(loaded: dict[str, Any]) -> dict[str, Any]:
    assert loaded["errors"] == {}
    return dict(loaded["dags"]["behavior_tuning"])


def test_work_is_mapped_over_the_workers_that_prepare_names(dag: dict[str, Any]) -> None:
    upstream = {name: task["upstream"] for name, task in dag["tasks"].items()}
    assert upstream == {
        "start": [],
        "open_tracking": ["start"],
        "prepare": ["open_tracking"],
        "work": ["prepare"],
        "conclude": ["work"],
        "close_tracking": ["conclude", "open_tracking"],
    }
    assert [name for name, task in dag["tasks"].items() if task["mapped"]] == ["work"]
    assert dag["tasks"]["close_tracking"]["teardown"]
    assert all(task["says"] and task["retries"] == 2 and task["owner"] == "behavior" for task in dag["tasks"].values())


def test_its_form_is_the_whole_configuration_and_it_runs_when_asked(dag: dict[str, Any]) -> None:
    read = [key for key in setting_keys() if key.partition(".")[0] not in SERVING_SECTIONS]
    assert list(dag["params"]) == ["input", "preset", "config_file", *in_order(read)]
    assert (dag["catchup"], dag["active"], dag["tags"]) == (False, 1, ["behavior", "tuning"])
    assert "tuned/NAME" in dag["doc"]
    assert "Null" in json.dumps(dag["summary"])


@pytest.mark.slow
def test_a_tuning_through_airflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "var")
    monkeypatch.setenv(HOME_VARIABLE, str(home.root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    asked = TINY | TUNING
    environment = airflow_environment(home, PROJECT)
    ensure_database(home, environment)
    command = [*AIRFLOW, "dags", "test", "behavior_tuning", "2026-11-23T02:00:00+00:00", "--conf", json.dumps(asked)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    config = load_config(overrides=asked)
    assert len(finished(Study(home, config).trials())) == 2
    assert "validation AP" in done.stdout
    best = load_config("tuned/tiny")
    assert best.train.learning_rate in {t.settings["train.learning_rate"] for t in Study(home, config).trials()}
    with store.connect(home) as client:
        runs = client.search_runs([store.experiment_id(client, home, config)])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    assert len(parents) == 1
    assert Counter(run.data.tags["mlflow.parentRunId"] for run in runs if run not in parents) == {
        parents[0].info.run_id: 2
    }
