"""The DAG behavior_scoring: loads lightly, its edges are the data's way, it runs whole on a tiny shop."""

import json
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from behavior_tasks.base.config import setting_keys
from behavior_tasks.base.form_words import in_order
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.cli.airflow import PROJECT, SCORING_DAG, DagResult, run_dag
from behavior_tasks.pipeline import SERVING, settings_of
from behavior_tasks.serve.served import served_dates
from tests.registry.crowned import crown, keep_both
from tests.serve.world import SMALL, ServedShop
from tests.shop import TINY

GROUPS = {
    "data": ["simulate", "source", "ingest", "clean"],
    "moment": ["champions", "moment", "readiness"],
    "scores": ["shopper_scores", "product_scores"],
    "applications": ["audiences", "recommendations", "demand", "risk"],
}
TASK = {name: f"{group}.{name}" for group, names in GROUPS.items() for name in names}


@pytest.fixture(scope="module")
def dag(loaded: dict[str, Any]) -> dict[str, Any]:
    assert loaded["errors"] == {}
    return dict(loaded["dags"]["behavior_scoring"])


def test_every_stage_that_serves_has_its_task_below_what_it_reads(dag: dict[str, Any]) -> None:
    assert set(dag["tasks"]) == {"start", "look", *TASK.values()}
    assert set(SERVING) == set(TASK)
    for name, row in SERVING.items():
        before = {TASK[i.removesuffix("?")] for i in (*row.inputs, *row.after)} or {"start"}
        assert set(dag["tasks"][TASK[name]]["upstream"]) == before


def test_one_red_application_stops_no_other_and_the_last_task_always_looks(dag: dict[str, Any]) -> None:
    assert set(dag["tasks"]["look"]["upstream"]) == {
        TASK[name] for name in (*GROUPS["scores"], *GROUPS["applications"])
    }
    assert dag["tasks"]["look"]["rule"] == "all_done_min_one_success"
    tolerant = {name for name, task in dag["tasks"].items() if task["rule"] == "none_failed"}
    assert tolerant == {"data.source", "data.ingest"}
    for task in dag["tasks"].values():
        assert task["retries"] == 2
        assert task["retry"]["user"] == "fail"
        assert task["says"]
        assert task["owner"] == "behavior"


def test_it_runs_every_night_and_whenever_a_model_is_promoted(dag: dict[str, Any], loaded: dict[str, Any]) -> None:
    when = json.dumps(dag["summary"])
    assert "0 5 * * *" in when
    assert "behavior_champion" in when
    assert (dag["catchup"], dag["active"], dag["tags"]) == (False, 1, ["behavior", "scoring"])
    assert "back-fill" in dag["doc"]
    training = loaded["dags"]["behavior_training"]["tasks"]
    assert [name for name, task in training.items() if task["outlets"]] == ["registry.promote"]
    assert training["registry.promote"]["outlets"] == ["behavior_champion"]
    assert {name: task["outlets"] for name, task in dag["tasks"].items() if task["outlets"]} == {
        "look": ["behavior_served"]
    }
    assert loaded["dags"]["behavior_monitoring"]["tasks"]["start"]["inlets"] == ["behavior_served"]


def test_the_form_asks_for_a_day_and_for_the_settings_that_are_read(dag: dict[str, Any]) -> None:
    read = settings_of(SERVING)
    expected = [key for key in setting_keys() if {key, key.partition(".")[0]} & read]
    assert list(dag["params"]) == ["input", "preset", "config_file", "as_of", *in_order(expected)]
    assert dag["params"]["as_of"]["schema"]["format"] == "date"
    assert "train.threads" in expected
    assert "train.epochs" not in expected


@dataclass(frozen=True)
class Night:
    """A DAG run that has ended."""

    home: Home
    result: DagResult

    @property
    def states(self) -> dict[str, str]:
        with closing(sqlite3.connect(self.home.airflow / "airflow.db")) as database:
            rows = database.execute("SELECT run_id, task_id, state, try_number FROM task_instance").fetchall()
        mine = [row[1:] for row in rows if re.sub("[^A-Za-z0-9._-]+", "-", row[0]) == self.result.run_id]
        assert all(tries <= 1 for _, _, tries in mine), "a mistake is not tried again"
        return {task.rpartition(".")[2]: state for task, state, _ in mine}

    @property
    def said(self) -> str:
        assert self.result.log is not None
        return self.result.log.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_red_application_and_the_night_after(
    shop: ServedShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    shutil.copytree(shop.home.root, home.root)
    monkeypatch.setenv(HOME_VARIABLE, str(home.root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    keep_both(home, shop)
    crown(home, "shopper")
    crown(home, "shopper_product")

    def night(number: int, **asked: object) -> Night:
        conf = {**TINY, **SMALL, **{name.replace("__", "."): value for name, value in asked.items()}}
        when = datetime(2026, 11, 23 + number, 5, tzinfo=UTC)
        return Night(home, run_dag(home, PROJECT, conf, logical_date=when, dag_id=SCORING_DAG))

    day = shop.moment.as_of - timedelta(days=1)  # not the day that would be taken without asking
    red = night(0, as_of=str(day), demand__stock_file=str(tmp_path / "nowhere.csv"))
    assert red.result.returncode == 1
    # Both read the stock file.
    assert {task for task, state in red.states.items() if state != "success"} == {"demand", "recommendations", "look"}
    assert "demand failed; what it gave before is still there." in red.said
    assert "nowhere.csv" in red.said
    applications = [*GROUPS["scores"], *GROUPS["applications"]]
    assert [name for name in applications if served_dates(home, name) != [day]] == ["recommendations", "demand"]

    green = night(1, as_of=str(day))
    assert green.result.returncode == 0, green.said[-3000:]
    assert set(green.states.values()) == {"success"}
    assert all(served_dates(home, name) == [day] for name in applications)
