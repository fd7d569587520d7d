"""The DAG file: it loads without a heavy library, its edges are the data's way, its form is the configuration."""

import json
from pathlib import Path
from typing import Any

import pytest

from behavior_tasks.base.config import SERVING_SECTIONS, setting_keys
from behavior_tasks.base.form_words import in_order
from behavior_tasks.pipeline import STAGES

PROJECT = Path(__file__).resolve().parents[2]
GROUPS = {
    "data": ["simulate", "source", "ingest", "clean", "report"],
    "examples": ["cutoffs", "doctor", "features"],
    "text": ["verbalize", "encode"],
    "model": ["train", "baselines"],
    "verdict": ["champion", "audit", "evaluate", "package", "gate", "model_report"],
    "registry": ["register", "approval", "promote"],
}
TASK = {name: f"{group}.{name}" for group, names in GROUPS.items() for name in names}


@pytest.fixture(scope="module")
def dag(loaded: dict[str, Any]) -> dict[str, Any]:
    return dict(loaded["dags"]["behavior_training"])


def test_it_loads_without_errors_and_without_a_heavy_library(loaded: dict[str, Any]) -> None:
    assert loaded["errors"] == {}
    names = ("erasure", "monitoring", "scoring", "training", "tuning")
    assert sorted(loaded["dags"]) == [f"behavior_{name}" for name in names]


def test_every_stage_has_its_task_in_its_group(dag: dict[str, Any]) -> None:
    assert set(dag["tasks"]) == {"start", "open_tracking", "close_tracking", *TASK.values()}
    assert set(STAGES) == set(TASK) - {"register", "approval", "promote"}


@pytest.mark.parametrize("stage", [name for name, row in STAGES.items() if row.inputs])
def test_a_stage_stands_below_exactly_the_stages_it_waits_for(dag: dict[str, Any], stage: str) -> None:
    before = {TASK[name.removesuffix("?")] for name in (*STAGES[stage].inputs, *STAGES[stage].after)}
    assert set(dag["tasks"][TASK[stage]]["upstream"]) == before


def test_nothing_is_trained_before_the_doctor_has_looked(dag: dict[str, Any]) -> None:
    assert {name for name, row in STAGES.items() if "doctor" in row.after} == {"train", "baselines"}


def test_the_ends_of_the_graph(dag: dict[str, Any]) -> None:
    upstream = {name: task["upstream"] for name, task in dag["tasks"].items()}
    assert upstream["start"] == []
    assert upstream["open_tracking"] == ["start"]
    assert upstream["data.simulate"] == upstream["verdict.champion"] == ["open_tracking"]
    assert upstream["registry.register"] == [
        *("data.report", "model.train", "verdict.evaluate", "verdict.gate", "verdict.model_report"),
    ]
    assert upstream["registry.approval"] == ["registry.register", "verdict.gate"]
    assert upstream["registry.promote"] == ["registry.approval", "registry.register", "verdict.gate"]
    assert set(upstream["close_tracking"]) == {"open_tracking", "registry.promote"}


def test_only_what_could_read_a_simulated_log_and_the_promotion_outlive_a_skipped_task(dag: dict[str, Any]) -> None:
    tolerant = {name for name, task in dag["tasks"].items() if task["rule"] == "none_failed"}
    assert tolerant == {"data.source", "data.ingest", "verdict.evaluate", "registry.promote"}


def test_the_mlflow_run_is_opened_and_closed_whatever_happens(dag: dict[str, Any]) -> None:
    opened, closed = dag["tasks"]["open_tracking"], dag["tasks"]["close_tracking"]
    assert opened["setup"]
    assert closed["teardown"]
    assert closed["rule"] == "all_done_setup_success"
    assert not closed["fails_run"]


def test_where_a_task_leads_to(loaded: dict[str, Any]) -> None:
    found = {
        f"{dag.removeprefix('behavior_')} {name}": sorted(task["links"])
        for dag, one in loaded["dags"].items()
        for name, task in one["tasks"].items()
        if task["links"]
    }
    assert found == {
        "training open_tracking": ["MLflow run"],
        "training registry.register": ["MLflow run", "Registered version", "Report"],
        "training registry.promote": ["MLflow run", "Models"],
        "scoring look": ["Marketing"],
        "monitoring keep": ["MLflow run", "Models", "Report"],
        "tuning open_tracking": ["MLflow run"],
    }


def test_trainings_run_one_at_a_time_a_gpu_on_the_queue_that_is_named(loaded: dict[str, Any]) -> None:
    every = [(dag, name, task["place"]) for dag, one in loaded["dags"].items() for name, task in one["tasks"].items()]
    assert {(dag, name) for dag, name, place in every if place == ["training", "gpu"]} == {
        ("behavior_training", "model.train"),
        ("behavior_tuning", "work"),
    }
    assert {tuple(place) for *_, place in every} == {("training", "gpu"), ("default_pool", "default")}


def test_every_dag_tells_somebody_when_it_fails(loaded: dict[str, Any]) -> None:
    assert all(dag["alarms"] for dag in loaded["dags"].values())


def test_a_form_is_refused_with_all_its_mistakes_before_there_is_a_run(loaded: dict[str, Any]) -> None:
    told = loaded["form"]
    assert told["untouched"] is None
    assert told["good day"] is None
    assert "3 mistakes" in told["three"]
    assert all(name in told["three"] for name in ("train.epochs: 0", "did you mean train.epochs", "gate.min_f1: 7"))
    assert "decision.min_precision" in told["contradiction"]
    assert "not a date" in told["day"]
    assert "serve.keep_days" in told["day"]
    assert told["own file"] is None, "the page's server reads no file that somebody names"


def test_a_note_stands_below_what_a_person_wrote(loaded: dict[str, Any]) -> None:
    alone, anew, below, later, long = loaded["notes"]
    assert alone == anew == "keep: F1 0.41"
    assert below.splitlines()[0] == "Spring sale!"
    assert below.endswith("keep: F1 0.41")
    assert later == below.replace("keep: F1 0.41", "promoted")
    assert len(long) == 1000


def test_what_is_tried_again(dag: dict[str, Any]) -> None:
    for task in dag["tasks"].values():
        assert task["retries"] == 2
        refused, tried_again = dict.fromkeys(("user", "stopped", "bug"), "fail"), ("disk", "resume", "late")
        assert task["retry"] == {**refused, **dict.fromkeys(tried_again, "default")}
        assert 0 < task["minutes"] <= 12 * 60


def test_when_it_runs_and_what_it_says_about_itself(dag: dict[str, Any]) -> None:
    assert "0 2 * * *" in json.dumps(dag["summary"])
    assert "behavior_drift" in json.dumps(dag["summary"])
    assert "UTC" in json.dumps(dag["summary"])
    assert (dag["catchup"], dag["active"], dag["tags"]) == (False, 1, ["behavior", "training"])
    assert "gate" in dag["doc"]
    assert all(task["owner"] == "behavior" and task["says"] for task in dag["tasks"].values())


def test_the_form_holds_every_setting_with_its_bounds(dag: dict[str, Any]) -> None:
    read = [key for key in setting_keys() if key.partition(".")[0] not in {"tuning", *SERVING_SECTIONS}]
    assert list(dag["params"]) == ["input", "preset", "config_file", *in_order(read)]
    epochs = dag["params"]["train.epochs"]
    assert epochs["value"] is None
    assert (epochs["schema"]["type"], epochs["schema"]["minimum"], epochs["schema"]["maximum"]) == (
        ["integer", "null"],
        1,
        1000,
    )


def test_dag_files_stay_thin() -> None:
    for file in (PROJECT / "dags").glob("behavior_*.py"):
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 120
