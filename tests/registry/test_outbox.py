"""What MLflow does not take waits and is delivered once, though processes are killed, disks fill and runs are deleted."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.registry import alive, outbox, store, tracking
from behavior_tasks.registry.delivery import deliver, deliver_all
from behavior_tasks.registry.live import LiveMetrics
from behavior_tasks.registry.outbox import Entry

CONFIG = Config()
RESULTS: dict[str, Any] = {
    "params": {"train.epochs": 3},
    "metrics": {"test_f1": 0.4},
    "epochs": [{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.4}],
    "plots": [],
    "files": [],
    "datasets": {"clean": "ab" * 32},
    "tags": {"verdict": "keep"},
}


def start(home: Home, run_id: str = "night-1") -> str | None:
    return tracking.start_tracking(home, CONFIG, run_id=run_id, name="a night", tags={"day": "2026-11-23"})


def log(home: Home, run_id: str = "night-1", **changes: Any) -> Any:
    return tracking.log_results(home, CONFIG, run_id=run_id, **(RESULTS | changes))


def finish(home: Home, run_id: str = "night-1") -> None:
    tracking.finish_tracking(home, CONFIG, run_id=run_id, succeeded=True)


def client(home: Home) -> MlflowClient:
    return MlflowClient(tracking_uri=tracking.tracking_uri(home))


def runs(home: Home) -> list[Run]:
    experiment = client(home).get_experiment_by_name(CONFIG.registry.experiment)
    return list(client(home).search_runs([experiment.experiment_id])) if experiment else []


def waiting(home: Home) -> dict[str, list[str]]:
    return {entry.run_id: entry.waiting for entry in outbox.entries(home)}


@pytest.fixture
def away(home: Home) -> Iterator[None]:
    """The store refuses, as a server does that is down, until the test moves it back."""
    database = home.mlflow / store.DATABASE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "tracking_uri", lambda _: "http://ann:secret@127.0.0.1:9")
        patch.setattr(store, "public_uri", lambda _: "the state folder")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        assert database.is_file()
        yield


def come_back(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    monkeypatch.setattr(store, "tracking_uri", lambda _: f"sqlite:///{home.mlflow / store.DATABASE}")


def test_after_a_whole_run_nothing_waits_and_nothing_is_left(home: Home) -> None:
    start(home)
    log(home)
    finish(home)
    assert waiting(home) == {}
    assert list((home.registry / "outbox").iterdir()) == []


def test_a_run_without_mlflow_is_delivered_whole_and_once(
    home: Home, away: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "verdict.json"
    elsewhere.write_text('{"decision": "keep"}')
    kept = home.artifacts / "gate" / "abc" / "metrics.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    before = int(time.time() * 1000)
    assert start(home) is None
    LiveMetrics(home, CONFIG, run_id="night-1")({"live/loss": 0.9}, 10)
    logged = log(home, files=[elsewhere, kept], texts={"environment/requirements.txt": "mlflow==3\n"})
    finish(home)
    after = int(time.time() * 1000)
    assert logged.unreachable
    assert waiting(home) == {"night-1": ["start", "live", "results", "end"]}
    assert outbox.artifacts(home) == {"artifact://gate/abc"}
    elsewhere.unlink()
    texts = [path.read_text() for path in (home.registry / "outbox").rglob("*.json")]
    assert not [text for text in texts if "secret" in text or str(home.root) in text or str(tmp_path) in text]
    assert "does not answer" in str(Entry(home, "night-1").problem)
    come_back(monkeypatch, home)
    assert deliver_all(home)[0].waiting == []
    assert deliver_all(home) == []
    (run,) = runs(home)
    assert run.info.status == "FINISHED"
    assert before <= run.info.start_time <= run.info.end_time <= after
    assert run.data.metrics == {"live/loss": 0.9, "test_f1": 0.4, "train_loss": 0.4}
    assert run.data.params == {"train.epochs": "3"}
    assert run.data.tags["verdict"] == "keep"
    assert run.data.tags["dag_run_id"] == "night-1"
    files = {entry.path for entry in client(home).list_artifacts(run.info.run_id)}
    assert files == {"verdict.json", "metrics.json", "environment"}
    assert waiting(home) == {}


def test_parents_and_children_wait_in_an_order_that_can_be_delivered(
    home: Home, away: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(home, "tuning")
    for number in (2, 1):
        own = tracking.start_child(home, CONFIG, run_id="tuning", child=f"a{number}", name=f"trial {number}", tags={})
        log(home, own)
        finish(home, own)
    finish(home, "tuning")
    come_back(monkeypatch, home)
    deliver_all(home)
    below = [run for run in runs(home) if "mlflow.parentRunId" in run.data.tags]
    (parent,) = [run for run in runs(home) if "mlflow.parentRunId" not in run.data.tags]
    assert {run.data.tags["mlflow.parentRunId"] for run in below} == {parent.info.run_id}
    assert len(below) == 2
    assert {run.info.status for run in runs(home)} == {"FINISHED"}


def test_what_belongs_to_another_mlflow_is_not_given_to_this_one(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv(store.URI_VARIABLE, "http://ann:secret@127.0.0.1:9")
    start(home)
    monkeypatch.delenv(store.URI_VARIABLE)
    (delivery,) = deliver_all(home)
    assert delivery.waiting == ["start"]
    told = str(delivery.problems["start"])
    assert "http://127.0.0.1:9" in told
    assert "secret" not in told
    assert runs(home) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from behavior_tasks.base.home import Home
from behavior_tasks.registry import delivery, mlflow_run
from behavior_tasks.registry.delivery import deliver
where = sys.argv[2]
module, name = (delivery, where[6:]) if where.startswith("after_") else (mlflow_run, where)
real = getattr(module, name) if module is mlflow_run else delivery.WORK[name]
def die(*args, **options):
    result = real(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)
if module is mlflow_run:
    setattr(module, name, die)
else:
    delivery.WORK[name] = die
deliver(Home(Path(sys.argv[1])), "night-1")
"""


@pytest.mark.parametrize("where", ["after_start", "log_params", "log_points", "after_results", "after_end"])
def test_killed_in_mid_delivery_doubles_and_loses_nothing(
    where: str, home: Home, away: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(home)
    log(home)
    finish(home)
    ended = subprocess.run([sys.executable, "-c", KILLED, str(home.root), where], timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL
    come_back(monkeypatch, home)
    deliver_all(home)
    (run,) = runs(home)
    assert run.info.status == "FINISHED"
    for key, points in {"train_loss": [(1, 0.5), (2, 0.4)], "test_f1": [(0, 0.4)]}.items():
        history = client(home).get_metric_history(run.info.run_id, key)
        assert sorted((point.step, point.value) for point in history) == points
    assert waiting(home) == {}


def test_a_run_deleted_in_mid_flight_gets_another_one_that_says_so(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    first = start(home)
    assert first is not None
    client(home).delete_run(first)
    log(home)
    finish(home)
    (run,) = runs(home)
    assert run.info.run_id != first
    assert (run.info.status, run.data.metrics["test_f1"]) == ("FINISHED", 0.4)
    assert "deleted" in run.data.tags["made_anew"]
    assert "was deleted while the run went on" in caplog.text


def test_a_run_deleted_before_its_end_ends_without_a_fuss(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    first = start(home)
    assert first is not None
    client(home).delete_run(first)
    finish(home)
    assert runs(home) == []
    assert waiting(home) == {}
    assert "nothing to end" in caplog.text


def test_files_that_went_are_named_in_mlflow(home: Home, away: None, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = home.artifacts / "gate" / "abc" / "verdict.json"
    gone.parent.mkdir(parents=True)
    gone.write_text("{}")
    start(home)
    log(home, files=[gone])
    finish(home)
    gone.unlink()
    come_back(monkeypatch, home)
    deliver_all(home)
    (run,) = runs(home)
    assert run.data.tags["missing_files"] == "verdict.json"
    assert run.data.metrics["test_f1"] == 0.4


FULL = """
import resource, sys
from pathlib import Path
from behavior_tasks.base.home import Home
from behavior_tasks.registry.delivery import deliver
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
for kind, problem in deliver(Home(Path(sys.argv[1])), "night-1").problems.items():
    print(kind, problem)
"""


def test_a_full_disk_while_logging_is_said_and_loses_nothing(
    home: Home, away: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plot = home.artifacts / "evaluate" / "abc" / "plot.png"
    plot.parent.mkdir(parents=True)
    size = 4 * (home.mlflow / store.DATABASE).stat().st_size
    plot.write_bytes(b"x" * size)
    start(home)
    log(home, plots=[plot])
    finish(home)
    # No file may grow beyond half of the plot: what a full disk looks like to who writes it.
    command = [sys.executable, "-c", FULL, str(home.root), str(size // 2)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "results The disk of the MLflow store is full." in ended.stdout
    assert "behavior sync" in ended.stdout
    assert waiting(home) == {"night-1": ["results"]}
    come_back(monkeypatch, home)
    deliver_all(home)
    (run,) = runs(home)
    assert run.data.metrics["test_f1"] == 0.4
    assert [entry.file_size for entry in client(home).list_artifacts(run.info.run_id, "plots")] == [size]


def test_a_store_of_another_version_is_refused_with_the_command_that_mends_it(home: Home) -> None:
    import sqlite3

    with sqlite3.connect(home.mlflow / store.DATABASE) as database:
        database.execute("UPDATE alembic_version SET version_num = 'cc1f77228345'")
    database.close()
    with pytest.raises(UserError, match="made by another version of MLflow") as caught:
        start(home)
    assert "cc1f77228345" in str(caught.value)
    assert f"mlflow db upgrade sqlite:///{home.mlflow}/mlflow.db" in str(caught.value)
    assert waiting(home) == {}


WORKER = """
import sys, time
from pathlib import Path
from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.registry import tracking
home = Home(Path(sys.argv[1]))
tracking.start_tracking(home, Config(), run_id="night-1", name="n", tags={})
with tracking.working(home, "night-1", sys.argv[2]):
    print("working", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def worker(home: Home, request: pytest.FixtureRequest) -> Iterator["subprocess.Popen[str]"]:
    """A real process that works on a run."""
    driver = getattr(request, "param", "process")
    environment = {**os.environ, "AIRFLOW_HOME": str(home.airflow)}
    command = [sys.executable, "-c", WORKER, str(home.root), driver]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "working"
        yield process
        process.kill()


def test_a_killed_run_is_ended_as_failed_and_a_living_one_is_left_alone(
    home: Home, worker: "subprocess.Popen[str]"
) -> None:
    assert tracking.close_dead(home) == []
    assert runs(home)[0].info.status == "RUNNING"
    worker.kill()
    worker.wait()
    assert tracking.close_dead(home) == ["night-1"]
    (run,) = runs(home)
    assert run.info.status == "FAILED"
    assert "was gone" in run.data.tags["ended"]
    assert tracking.close_dead(home) == []


def test_the_children_of_a_killed_run_end_with_it(home: Home, worker: "subprocess.Popen[str]") -> None:
    tracking.start_child(home, CONFIG, run_id="night-1", child="trial-1", name="trial", tags={})
    assert tracking.close_dead(home) == []
    worker.kill()
    worker.wait()
    assert tracking.close_dead(home) == ["night-1", "night-1@trial-1"]
    assert {run.info.status for run in runs(home)} == {"FAILED"}


@pytest.mark.parametrize("worker", ["behavior_training"], indirect=True)
def test_a_dags_run_lives_while_its_airflow_lives(home: Home, worker: "subprocess.Popen[str]") -> None:
    # Another process of that Airflow, e.g. its scheduler, between two tasks.
    environment = {**os.environ, "AIRFLOW_HOME": str(home.airflow)}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as scheduler:
        worker.kill()
        worker.wait()
        assert tracking.close_dead(home) == []
        assert tracking.close_dead(home, only_run_of="behavior_tuning") == []
        assert tracking.close_dead(home, only_run_of="behavior_training") == ["night-1"]
        assert start(home) is not None
        with tracking.working(home, "night-1", "behavior_training"):
            pass
        scheduler.kill()


def test_a_run_of_another_machine_is_closed_after_a_day_of_silence_only(
    home: Home, worker: "subprocess.Popen[str]"
) -> None:
    worker.kill()
    worker.wait()
    entry = Entry(home, "night-1")
    facts = json.loads((entry.folder / alive.DRIVER).read_bytes())
    (entry.folder / alive.DRIVER).write_text(json.dumps({**facts, "machine": "another"}))
    assert tracking.close_dead(home) == []
    beat = (entry.folder / alive.LOCK).stat().st_mtime
    assert not alive.dead(entry, now=beat + alive.QUIET_SECONDS - 1)
    assert alive.dead(entry, now=beat + alive.QUIET_SECONDS + 1)


def test_a_run_closed_too_early_ends_as_it_really_did(home: Home) -> None:
    first = start(home)
    tracking.finish_tracking(home, CONFIG, run_id="night-1", succeeded=False, note="closed too early")
    log(home)
    finish(home)
    (run,) = runs(home)
    assert (run.info.run_id, run.info.status, run.data.metrics["test_f1"]) == (first, "FINISHED", 0.4)


def test_a_model_that_waited_is_registered_when_it_can_be(
    home: Home, model: Artifact, away: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from behavior_tasks.registry import candidates

    start(home)
    given = candidates.register_model(home, CONFIG, run_id="night-1", model=model, tags={"f1": "0.4"})
    assert given.waiting == ["start", "model"]
    assert outbox.artifacts(home) == {model.uri}
    come_back(monkeypatch, home)
    assert deliver(home, "night-1").results["model"] == {"version": "1", "reused": False}
    assert client(home).get_model_version("behavior", "1").tags["artifact"] == model.uri
