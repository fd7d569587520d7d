"""Tracking on a real embedded store: one run whatever is retried, and nothing in it that should stay here."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.registry import store, tracking

CONFIG = Config()
NAME = "2026-11-23 nightly · gpt2-compact"
EPOCHS = [
    {"epoch": 1, "step": 40, "train_loss": 0.9, "validation_average_precision": 0.30},
    {"epoch": 2, "step": 80, "train_loss": 0.7, "validation_average_precision": 0.35},
]


def start(home: Home, run_id: str = "night-1", **tags: str) -> str:
    return tracking.start_tracking(home, CONFIG, run_id=run_id, name=NAME, tags=tags)


def log(home: Home, run_id: str = "night-1", **changes: Any) -> None:
    results: dict[str, Any] = {
        "params": {"train.epochs": "3", "model.size": "compact"},
        "metrics": {"test_f1": 0.41, "boosting_test_f1": 0.43},
        "epochs": EPOCHS,
        "plots": [],
        "files": [],
        "datasets": {"ingest": "ab" * 32},
        "tags": {"verdict": "keep"},
    }
    tracking.log_results(home, CONFIG, run_id=run_id, **(results | changes))


def client(home: Home) -> MlflowClient:
    return MlflowClient(tracking_uri=tracking.tracking_uri(home))


def runs(home: Home) -> list[Run]:
    experiment = client(home).get_experiment_by_name(CONFIG.registry.experiment)
    return list(client(home).search_runs([experiment.experiment_id]))


def curve(home: Home, key: str) -> list[tuple[int, float]]:
    (run,) = runs(home)
    history = client(home).get_metric_history(run.info.run_id, key)
    return [(point.step, point.value) for point in sorted(history, key=lambda point: point.timestamp)]


def test_the_embedded_store_lies_in_the_state_folder(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking.tracking_uri(home) == f"sqlite:///{home.mlflow}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking.tracking_uri(home) == "http://127.0.0.1:5000"


def test_a_run_is_found_again_whoever_asks(home: Home) -> None:
    first = start(home, log="shop.csv")
    assert start(home, log="shop.csv") == first
    assert start(home, "night-2") != first
    assert len(runs(home)) == 2
    found = client(home).get_run(first)
    assert (found.info.run_name, found.info.status) == (NAME, "RUNNING")
    assert found.data.tags["dag_run_id"] == "night-1"
    assert found.data.tags["log"] == "shop.csv"


@pytest.mark.parametrize("succeeded", [True, False])
def test_a_run_ends_and_a_restart_takes_it_up(succeeded: bool, home: Home) -> None:
    first = start(home)
    tracking.finish_tracking(home, CONFIG, run_id="night-1", succeeded=succeeded)
    ended = client(home).get_run(first)
    assert ended.info.status == ("FINISHED" if succeeded else "FAILED")
    assert ended.info.end_time is not None
    assert start(home) == first
    assert client(home).get_run(first).info.status == "RUNNING"
    tracking.finish_tracking(home, CONFIG, run_id="night-1", succeeded=True)
    assert client(home).get_run(first).info.status == "FINISHED"
    assert len(runs(home)) == 1


def test_ending_what_was_never_started_makes_nothing(bare: Home) -> None:
    tracking.finish_tracking(bare, CONFIG, run_id="night-1", succeeded=False)
    assert tracking.run_link(bare, CONFIG, "night-1") is None
    assert not bare.root.exists()


def test_results_are_kept_with_a_point_an_epoch(home: Home, tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text("{}")
    (tmp_path / "curve.png").write_bytes(b"png")
    start(home)
    folders = {"data_report": [tmp_path / "verdict.json"], "data_report/plots": [tmp_path / "curve.png"]}
    log(home, plots=[tmp_path / "curve.png"], files=[tmp_path / "verdict.json"], folders=folders)
    (run,) = runs(home)
    assert run.data.params == {"train.epochs": "3", "model.size": "compact"}
    assert run.data.metrics["test_f1"] == 0.41
    assert curve(home, "validation_average_precision") == [(1, 0.30), (2, 0.35)]
    assert "step" not in run.data.metrics
    assert "epoch" not in run.data.metrics
    assert run.data.tags["verdict"] == "keep"
    assert run.data.tags["dataset.ingest"] == "ab" * 32
    (dataset,) = [entry.dataset for entry in run.inputs.dataset_inputs]
    assert (dataset.name, dataset.digest) == ("ingest", "ab" * 16)
    files = [entry.path for entry in client(home).list_artifacts(run.info.run_id)]
    plots = [entry.path for entry in client(home).list_artifacts(run.info.run_id, "plots")]
    assert (sorted(files), plots) == (["data_report", "plots", "verdict.json"], ["plots/curve.png"])
    below = [entry.path for entry in client(home).list_artifacts(run.info.run_id, "data_report")]
    assert sorted(below) == ["data_report/plots", "data_report/verdict.json"]


def test_a_retry_doubles_nothing(home: Home, tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text("{}")
    start(home)
    for _ in range(3):
        log(home, files=[tmp_path / "verdict.json"])
    assert curve(home, "train_loss") == [(1, 0.9), (2, 0.7)]
    assert curve(home, "test_f1") == [(0, 0.41)]
    (run,) = runs(home)
    assert len(run.inputs.dataset_inputs) == 1


def test_a_retry_completes_what_an_interrupted_attempt_left(home: Home) -> None:
    start(home)
    log(home, epochs=EPOCHS[:1], metrics={})
    log(home)
    assert curve(home, "train_loss") == [(1, 0.9), (2, 0.7)]
    assert curve(home, "test_f1") == [(0, 0.41)]


@pytest.mark.parametrize("value", [0.5, 0.3])
def test_a_changed_result_becomes_the_one_that_is_shown(value: float, home: Home) -> None:
    start(home)
    log(home)
    log(home, metrics={"test_f1": value})
    (run,) = runs(home)
    assert run.data.metrics["test_f1"] == value
    log(home, metrics={"test_f1": value})
    assert curve(home, "test_f1") == [(0, 0.41), (0, value)]


def test_a_changed_setting_is_told_in_a_tag(home: Home) -> None:
    start(home)
    log(home)
    log(home, params={"train.epochs": "5", "model.size": "compact", "train.seed": "7"})
    (run,) = runs(home)
    assert run.data.params == {"train.epochs": "3", "model.size": "compact", "train.seed": "7"}
    assert {key: value for key, value in run.data.tags.items() if key.startswith("changed.")} == {
        "changed.train.epochs": "5"
    }


def test_what_is_no_number_is_left_out(home: Home) -> None:
    start(home)
    log(home, metrics={"test_f1": math.nan, "test_recall": 0.5})
    (run,) = runs(home)
    assert "test_f1" not in run.data.metrics
    assert run.data.metrics["test_recall"] == 0.5


def test_more_settings_and_figures_than_mlflow_takes_at_once(home: Home) -> None:
    start(home)
    params, metrics = ({f"{kind}{n}": n for n in range(250)} for kind in ("p", "m"))
    log(home, params=params, metrics=metrics, tags={f"t{n}": "x" for n in range(250)})
    (run,) = runs(home)
    assert len(run.data.params) == 250
    assert {key: value for key, value in run.data.metrics.items() if key.startswith("m")} == metrics


def test_no_path_of_this_machine_and_no_login_name_reaches_the_store(home: Home, tmp_path: Path) -> None:
    start(home, log=str(tmp_path / "shop.csv"))
    log(home, params={"model.checkpoint": str(home.root / "gpt2-mine")}, tags={"note": f"read {home.root}/x/log.csv"})
    (run,) = runs(home)
    assert run.data.params == {"model.checkpoint": "gpt2-mine"}
    assert run.data.tags["log"] == "shop.csv"
    assert run.data.tags["note"] == "log.csv"
    told = [*run.data.tags.items(), *run.data.params.items()]
    assert not [pair for pair in told if str(tmp_path) in pair[1] or str(Path.cwd()) in pair[1]]
    assert not {"mlflow.user", "mlflow.source.name"} & set(run.data.tags)


def test_where_to_look(home: Home) -> None:
    found = start(home)
    (run,) = runs(home)
    assert tracking.run_link(home, CONFIG, "night-1") == {
        "experiment_id": run.info.experiment_id,
        "mlflow_run_id": found,
        "path": f"/#/experiments/{run.info.experiment_id}/runs/{found}",
    }
    assert tracking.run_link(home, CONFIG, "night-9") is None


def test_results_of_a_run_that_was_never_started_are_refused(home: Home) -> None:
    start(home, "other")
    with pytest.raises(UserError, match="no MLflow run for night-1"):
        log(home)


def test_a_deleted_experiment_is_named_with_the_way_back(home: Home) -> None:
    start(home)
    client(home).delete_experiment(runs(home)[0].info.experiment_id)
    with pytest.raises(UserError, match="experiment behavior is deleted") as caught:
        start(home)
    assert "mlflow experiments restore -x 1" in str(caught.value)


def test_mlflows_own_address_is_not_changed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    start(home)
    assert store.URI_VARIABLE not in os.environ


STARTER = """
import sys
from pathlib import Path
from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.registry.tracking import start_tracking
print(start_tracking(Home(Path(sys.argv[1])), Config(), run_id="night-1", name="n", tags={}))
"""


def test_two_processes_that_make_the_store_at_once_share_one_run(bare: Home) -> None:
    command = [sys.executable, "-c", STARTER, str(bare.root)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    assert len({out for out, _ in told}) == 1
    assert {err for _, err in told} == {""}
    assert len(runs(bare)) == 1


def test_importing_the_registry_costs_neither_mlflow_nor_torch(bare: Home) -> None:
    code = (
        "import sys; from pathlib import Path; from behavior_tasks.base.config import Config; "
        "from behavior_tasks.base.home import Home; from behavior_tasks.registry import ledger, tracking, versions; "
        "home = Home(Path(sys.argv[1])); assert versions.champion_identity(None, Config(), home) == "
        "{'champion': 'none'}; tracking.finish_tracking(home, Config(), run_id='r', succeeded=True); "
        "print([name for name in ('mlflow', 'torch') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code, str(bare.root)], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_child_is_a_run_below_its_parent_whoever_asks_again(home: Home) -> None:
    parent = start(home)
    own = tracking.start_child(home, CONFIG, run_id="night-1", child="trial-1", name="trial 1", tags={"seed": "7"})
    again = tracking.start_child(home, CONFIG, run_id="night-1", child="trial-1", name="trial 1", tags={"seed": "7"})
    other = tracking.start_child(home, CONFIG, run_id="night-1", child="trial-2", name="trial 2", tags={})
    assert (own, again, other) == ("night-1@trial-1", "night-1@trial-1", "night-1@trial-2")
    log(home, run_id=own)
    tracking.finish_tracking(home, CONFIG, run_id=own, succeeded=True)
    assert len(runs(home)) == 3
    below = {run.info.run_name: run for run in runs(home) if run.data.tags.get("mlflow.parentRunId") == parent}
    assert set(below) == {"trial 1", "trial 2"}
    assert below["trial 1"].info.status == "FINISHED"
    assert below["trial 1"].data.metrics["test_f1"] == 0.41
    assert below["trial 1"].data.tags["parent"] == "night-1"
    assert client(home).get_run(parent).info.status == "RUNNING"


@pytest.mark.parametrize("child", ["", "a/b", "a b", "a@b", "a'b"])
def test_a_childs_name_can_be_a_folder_and_a_filter(child: str, home: Home) -> None:
    with pytest.raises(ValueError, match="a child's name holds"):
        tracking.start_child(home, CONFIG, run_id="night-1", child=child, name="n", tags={})
