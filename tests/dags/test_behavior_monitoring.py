"""The DAG behavior_monitoring: loads lightly, its edges are the data's way, and it alone updates behavior_drift."""

import json
from typing import Any

import pytest

from behavior_tasks.base.config import setting_keys
from behavior_tasks.base.form_words import in_order
from behavior_tasks.pipeline import WATCHING, settings_of

GROUPS = {
    "data": ["simulate", "source", "ingest", "clean"],
    "moment": ["champions", "moment", "readiness"],
    "watch": ["watch"],
}
TASK = {name: f"{group}.{name}" for group, names in GROUPS.items() for name in names}


@pytest.fixture(scope="module")
def dag(loaded: dict[str, Any]) -> dict[str, Any]:
    assert loaded["errors"] == {}
    return dict(loaded["dags"]["behavior_monitoring"])


def test_every_stage_of_the_watch_has_its_task_below_what_it_reads(dag: dict[str, Any]) -> None:
    assert set(dag["tasks"]) == {"start", "keep", "ask_for_training", "look", "retention", *TASK.values()}
    assert set(WATCHING) == set(TASK)
    for name, row in WATCHING.items():
        before = {TASK[i.removesuffix("?")] for i in row.inputs} or {"start"}
        assert set(dag["tasks"][TASK[name]]["upstream"]) == before


def test_the_day_is_kept_whatever_happened_and_a_severe_one_asks_and_is_red(dag: dict[str, Any]) -> None:
    tasks = dag["tasks"]
    assert tasks["keep"]["rule"] == "all_done"
    assert set(tasks["keep"]["upstream"]) == {"start", "watch.watch"}
    for name in ("ask_for_training", "look"):
        assert tasks[name]["upstream"] == ["keep"]
        assert tasks[name]["rule"] == "all_success"
    # What is too old goes, whatever the watch found.
    assert (tasks["retention"]["upstream"], tasks["retention"]["rule"]) == (["keep"], "all_done")
    for task in tasks.values():
        assert task["retries"] == 2
        assert task["retry"]["user"] == "fail"
        assert task["says"]


def test_it_runs_after_the_scoring_and_its_asset_starts_a_training(dag: dict[str, Any], loaded: dict[str, Any]) -> None:
    assert "0 7 * * *" in json.dumps(dag["summary"])
    assert (dag["catchup"], dag["active"], dag["tags"]) == (False, 1, ["behavior", "monitoring"])
    updates = {name: task["outlets"] for name, task in dag["tasks"].items() if task["outlets"]}
    assert updates == {"ask_for_training": ["behavior_drift"]}
    assert "behavior_drift" in json.dumps(loaded["dags"]["behavior_training"]["summary"])


def test_the_form_asks_for_a_day_and_for_the_settings_that_are_read(dag: dict[str, Any]) -> None:
    read = settings_of(WATCHING)
    expected = [key for key in setting_keys() if {key, key.partition(".")[0]} & read]
    assert list(dag["params"]) == ["input", "preset", "config_file", "as_of", *in_order(expected)]
    assert "watch.max_psi" in expected
    assert "audiences.holdout" not in expected
