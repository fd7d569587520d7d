"""The DAG behavior_scoring: loads lightly, its edges are the data's way, it runs whole on a tiny shop."""

import json
from typing import Any

import pytest

from behavior_tasks.base.config import setting_keys
from behavior_tasks.pipeline import SERVING, settings_of

GROUPS = {
    "data": ["simulate", "source", "ingest", "clean"],
    "moment": ["champions", "moment"],
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
        before = {TASK[i.removesuffix("?")] for i in row.inputs} or {"start"}
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


def test_the_form_asks_for_a_day_and_for_the_settings_that_are_read(dag: dict[str, Any]) -> None:
    read = settings_of(SERVING)
    expected = [key for key in setting_keys() if {key, key.partition(".")[0]} & read]
    assert list(dag["params"]) == ["input", "preset", "config_file", "as_of", *expected]
    assert dag["params"]["as_of"]["schema"]["format"] == "date"
    assert "train.threads" in expected
    assert "train.epochs" not in expected
