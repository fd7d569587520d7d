"""The DAG behavior_erasure: loads lightly, asks for no raw id, and works a request off through Airflow."""

import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.cli.airflow import AIRFLOW, PROJECT, airflow_environment, ensure_database
from behavior_tasks.data.erasures import read_erasures
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.keys import identity_key
from behavior_tasks.pipeline.privacy.erase import Asked, keep_request, make_request
from behavior_tasks.registry import store
from tests.serve.world import ServedShop


@pytest.fixture(scope="module")
def dag(loaded: dict[str, Any]) -> dict[str, Any]:
    assert loaded["errors"] == {}
    return dict(loaded["dags"]["behavior_erasure"])


def test_it_erases_then_asks_for_a_training_every_morning(dag: dict[str, Any]) -> None:
    assert {name: task["upstream"] for name, task in dag["tasks"].items()} == {
        "erase": [],
        "ask_for_training": ["erase"],
    }
    assert {name: task["outlets"] for name, task in dag["tasks"].items()} == {
        "erase": [],
        "ask_for_training": ["behavior_drift"],
    }
    assert all(task["says"] and task["retries"] == 2 for task in dag["tasks"].values())
    assert "0 8 * * *" in json.dumps(dag["summary"])
    assert (dag["catchup"], dag["active"], dag["tags"]) == (False, 1, ["behavior", "erasure"])
    assert "privacy.retrain" in dag["params"]
    assert {name for name in dag["params"] if "." not in name} == {"input", "preset", "config_file"}


@pytest.mark.slow
def test_a_request_is_worked_off_through_airflow(
    shop: ServedShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "var")
    shutil.copytree(shop.home.root, home.root)
    monkeypatch.setenv(HOME_VARIABLE, str(home.root))
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)
    log = next(home.artifacts.glob("simulate/*/events.csv"))
    raw = pd.read_csv(log, usecols=["user_id"], dtype=str)["user_id"].dropna().iloc[0]
    asked = Asked(who="ann", why="ticket 7", when=datetime(2026, 11, 28, tzinfo=UTC))
    keep_request(home, make_request(home, [raw], asked))
    environment = airflow_environment(home, PROJECT)
    ensure_database(home, environment)
    command = [*AIRFLOW, "dags", "test", "behavior_erasure", "2026-11-28T08:00:00+00:00"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert [line.kind for line in read_erasures(home)] == ["asked", "done"]
    assert raw not in log.read_text("utf-8")
    assert not list((home.privacy / "requests").glob("*.json"))
    assert raw not in done.stdout + done.stderr
    assert pseudonym(raw, identity_key(home)) not in done.stdout + done.stderr
