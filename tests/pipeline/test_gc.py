"""Garbage collection: what nobody needs goes, what anybody needs stays, whenever it is killed."""

import json
import multiprocessing
import os
import shutil
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from behavior_tasks.base.application_config import WatchConfig
from behavior_tasks.base.artifacts import Artifact, ArtifactStore
from behavior_tasks.base.cached import read_kept
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.in_use import using_artifacts
from behavior_tasks.base.serve_config import ServeConfig
from behavior_tasks.pipeline import gc
from behavior_tasks.pipeline.gc import collect, plan_collection
from behavior_tasks.registry import ledger, retention, store, title, tracking, versions
from behavior_tasks.registry.aliases import all_versions
from behavior_tasks.registry.outbox import Entry, record
from behavior_tasks.serve.served import publish, served_dates
from tests.pipeline.records import make_artifact, make_run
from tests.registry.titles import client

CONFIG = Config.model_validate({"registry": {"keep_runs": 1, "keep_versions": 1, "keep_days": 30}})
LATER = time.time() + 60 * 86_400


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)
    return Home(tmp_path / "home")


def everything(home: Home) -> dict[str, bytes]:
    kept = [home.artifacts, home.mlflow / "artifacts", home.registry]
    files = (path for place in kept for path in place.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(home.root)): path.read_bytes() for path in files}


def names(items: list[gc.Unneeded], kind: str = "artifact") -> set[str]:
    return {item.name for item in items if item.kind == kind}


def place_of(artifact: Artifact) -> str:
    return artifact.uri.removeprefix("artifact://")


def test_artifacts_of_kept_runs_stay_with_what_they_name(home: Home) -> None:
    part = make_artifact(home, "ingest-part", "part")
    lost = make_artifact(home, "ingest-part", "of an old log")
    listed = {"parts.json": json.dumps([{"uri": part.uri}])}
    ingest = make_artifact(home, "ingest", "new", listed)
    old = make_artifact(home, "ingest", "old", {"parts.json": json.dumps([{"uri": lost.uri}])})
    make_run(home, "old", {"ingest": old}, nth=1)
    make_run(home, "new", {"ingest": ingest}, nth=2)
    (home.artifacts / "ingest" / ".0123456789abcdef0123.0123abcd").mkdir()
    assert plan_collection(home, CONFIG, now=time.time()) == []
    before = everything(home)
    planned = plan_collection(home, CONFIG, now=LATER)
    assert names(planned) == {place_of(old), place_of(lost)}
    assert everything(home) == before
    assert all(item.bytes > 100 for item in planned)
    gone: list[str] = []
    assert collect(home, CONFIG, now=LATER, on_deleted=lambda item: gone.append(item.name)) == planned
    assert set(gone) == names(planned)
    assert {path.name for path in (home.artifacts / "ingest").iterdir()} == {ingest.key}
    assert ArtifactStore(home.artifacts).open(part.uri)
    assert collect(home, CONFIG, now=LATER) == []


def test_what_waits_in_the_outbox_stays(home: Home) -> None:
    waiting = make_artifact(home, "train", "waiting")
    Entry(home, "night-9").put("model", record(home, CONFIG, model=waiting.uri, tags={}))
    assert plan_collection(home, CONFIG, now=LATER) == []


def test_unfinished_trainings_go_when_nobody_resumes_them(home: Home) -> None:
    work = home.work / "train" / "abc"
    work.mkdir(parents=True)
    (work / "job.json").write_text("{}")
    assert plan_collection(home, CONFIG, now=time.time()) == []
    assert names(collect(home, CONFIG, now=LATER), "unfinished training") == {"train/abc"}
    assert not work.exists()


def hold(root: str, held: object, done: object) -> None:
    with using_artifacts(Home(Path(root))):
        held.set()  # type: ignore[attr-defined]
        done.wait(60)  # type: ignore[attr-defined]


def test_nothing_is_deleted_while_a_stage_is_at_work(home: Home) -> None:
    old = make_artifact(home, "clean", "old")
    context = multiprocessing.get_context("forkserver")
    held, done = context.Event(), context.Event()
    worker = context.Process(target=hold, args=(str(home.root), held, done))
    worker.start()
    assert held.wait(60)
    assert names(plan_collection(home, CONFIG, now=LATER)) == {place_of(old)}
    with pytest.raises(UserError, match="A run is at work"):
        collect(home, CONFIG, now=LATER)
    assert old.path.exists()
    done.set()
    worker.join(60)
    collect(home, CONFIG, now=LATER)
    assert not old.path.exists()


def test_a_collection_that_is_killed_leaves_nothing_that_looks_finished(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_artifact(home, "clean", "old", {"a": "1", "b": "2"})

    def killed(folder: Path) -> None:
        next(path for path in folder.iterdir() if path.name != "manifest.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            collect(home, CONFIG, now=LATER)
    assert ArtifactStore(home.artifacts).find("clean", old.key) is None
    assert collect(home, CONFIG, now=LATER) == []
    assert list((home.artifacts / "clean").iterdir()) == []


@pytest.fixture
def registered(home: Home) -> Home:
    """Six versions on models of their own: 2 was champion, 3 is, 1 has an alias of the user's, 6 is the newest."""
    with store.connect(home) as mlflow:
        mlflow.create_registered_model("behavior")
    for number in range(1, 7):
        add_version(home, number)
    was: str | None = None
    for version in ("2", "3"):
        told = {"decision": "promote", "reason": "better", "champion_version": was, "test_hash": "abc"}
        told |= {"candidate": train(home, int(version)).uri}
        when = datetime(2026, 11, 23, tzinfo=UTC)
        versions.promote(home, CONFIG, version=version, verdict=told, run_id=f"n{version}", who="x", when=when)
        was = version
    client(home).set_registered_model_alias("behavior", "mine", "1")
    return home


def train(home: Home, number: int) -> Artifact:
    return make_artifact(home, "train", f"model {number}")


def add_version(home: Home, number: int) -> None:
    run_id, model = f"n{number}", train(home, number)
    make_run(home, run_id, {"train": model}, nth=number)
    tracking.start_tracking(home, CONFIG, run_id=run_id, name=run_id, tags={})
    tracking.finish_tracking(home, CONFIG, run_id=run_id, succeeded=True)
    with store.connect(home) as mlflow:
        run = store.need_run(mlflow, home, CONFIG, run_id).info
        mlflow.log_text(run.run_id, "a plot", "plots/a.txt")
        logged = mlflow.create_logged_model(run.experiment_id, source_run_id=run.run_id, tags={"artifact": model.uri})
        (home.root / "packed").mkdir(exist_ok=True)
        (home.root / "packed" / "MLmodel").write_text("x" * 1000)
        mlflow.log_model_artifacts(logged.model_id, str(home.root / "packed"))
        tags = {"artifact": model.uri, "run_id": run_id}
        mlflow.create_model_version(
            "behavior", source=logged.artifact_location, run_id=run.run_id, tags=tags, model_id=logged.model_id
        )


def test_versions_and_run_files_go_but_never_a_champions_or_an_aliased_ones(registered: Home) -> None:
    assert plan_collection(registered, CONFIG, now=time.time()) == []
    with store.connect(registered) as mlflow:
        runs = {n: store.need_run(mlflow, registered, CONFIG, f"n{n}").info.run_id for n in range(1, 7)}
    planned = plan_collection(registered, CONFIG, now=LATER)
    assert names(planned, "version") == {"4", "5"}
    assert all(item.bytes == 1000 for item in planned if item.kind == "version")
    assert names(planned) == {place_of(train(registered, number)) for number in (4, 5)}
    assert names(planned, "run files") == {runs[4], runs[5]}
    assert len(list(registered.mlflow.rglob("MLmodel"))) == 6
    collect(registered, CONFIG, now=LATER)
    left = all_versions(client(registered), "behavior")
    assert {str(version.version) for version in left} == {"1", "2", "3", "6"}
    assert len(list(registered.mlflow.rglob("MLmodel"))) == 4
    with title.hold(registered, CONFIG) as desk:
        assert (desk.aliases.champion, desk.aliases.previous) == ("3", "2")
    gone = client(registered).get_run(runs[4])
    assert gone.data.tags["files_deleted"]
    assert gone.data.tags["dag_run_id"] == "n4"
    assert client(registered).list_artifacts(runs[4]) == []
    assert client(registered).list_artifacts(runs[3])
    assert collect(registered, CONFIG, now=LATER) == []


def test_a_deletion_that_was_cut_short_is_finished_by_the_next(
    registered: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(retention, "delete_files", killed)
        with pytest.raises(KeyboardInterrupt):
            collect(registered, CONFIG, now=LATER)
    planned = plan_collection(registered, CONFIG, now=LATER)
    assert len(names(planned, "version")) == 1
    assert len(names(planned, "model")) == 1
    collect(registered, CONFIG, now=LATER)
    assert len(list(registered.mlflow.rglob("MLmodel"))) == 4


def test_models_of_the_ledger_stay_even_after_their_registered_model_was_deleted(registered: Home) -> None:
    mlflow = client(registered)
    for version in all_versions(mlflow, "behavior"):
        mlflow.delete_model_version("behavior", version.version)
    mlflow.delete_registered_model("behavior")
    collect(registered, CONFIG, now=LATER)
    for number in (2, 3):
        assert ArtifactStore(registered.artifacts).open(train(registered, number).uri)
    # The third is what the last run made; the files of both champions are in MLflow too.
    assert len(list(registered.mlflow.rglob("MLmodel"))) == 2


def test_a_damaged_ledger_lets_nothing_go(registered: Home) -> None:
    path = ledger.ledger_path(registered)
    path.write_bytes(path.read_bytes().replace(b"better", b"bitter"))
    before = everything(registered)
    with pytest.raises(ledger.LedgerError):
        collect(registered, CONFIG, now=LATER)
    assert everything(registered) == before


def serve(home: Home, name: str, day: int) -> Artifact:
    made = make_artifact(home, "audiences", name, {"served/audience.csv": name * 100})
    folder = publish(home, made, date(2026, 11, day)).folder
    os.utime(folder, (day * 86_400, day * 86_400))
    return made


def test_what_is_handed_out_stays_with_what_it_was_made_of_until_it_is_old(home: Home) -> None:
    old, newest, lost = serve(home, "old", 1), serve(home, "newest", 2), make_artifact(home, "audiences", "lost")
    long = CONFIG.model_copy(update={"serve": ServeConfig(keep_days=36_500)})
    assert names(plan_collection(home, long, now=LATER)) == {place_of(lost)}
    planned = plan_collection(home, CONFIG, now=LATER)
    assert names(planned, "served date") == {"audiences/2026-11-01"}
    assert collect(home, CONFIG, now=LATER)
    assert served_dates(home, "audiences") == [date(2026, 11, 2)]
    assert newest.path.exists()
    assert collect(home, CONFIG, now=LATER) == []
    assert not lost.path.exists()
    assert not old.path.exists()


def aged(path: Path, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(b"x" * 100)
    os.utime(path, (time.time() - days * 86_400,) * 2)
    return path


def test_old_watched_days_go_but_never_the_newest_or_the_journal(home: Home) -> None:
    for day, days in ((1, 500), (2, 500), (3, 300), (4, 450)):
        aged(home.watch / f"date=2026-11-0{day}" / "report.html", days)
        aged(home.watch / f"date=2026-11-0{day}", days)
    journal = aged(home.watch / "alerts.jsonl", 900)
    planned = plan_collection(home, CONFIG, now=time.time())
    assert names(planned, "watched day") == {"watch/2026-11-01", "watch/2026-11-02"}
    assert {item.bytes for item in planned} == {100}
    assert collect(home, CONFIG, now=time.time()) == planned
    assert sorted(path.name for path in home.watch.glob("[!.]*")) == [
        "alerts.jsonl",
        "date=2026-11-03",
        "date=2026-11-04",
    ]
    assert journal.read_bytes()
    assert not list(home.watch.glob(".old.*"))
    soon = CONFIG.model_copy(update={"watch": WatchConfig(keep_days=200)})
    assert names(plan_collection(home, soon, now=time.time()), "watched day") == {"watch/2026-11-03"}


def test_what_the_cache_keeps_goes_when_nobody_has_read_it_for_long(home: Home) -> None:
    watch, scores = home.cache / "watch", home.cache / "scores"
    old = [aged(watch / "test-a.json", 40), aged(watch / "figures" / "a.json", 40), aged(scores / "shelf" / "0", 40)]
    young = [aged(watch / "figures" / "b.json", 20), aged(scores / "used" / "0", 40), aged(home.cache / "other", 40)]
    aged(scores / "shelf", 40)
    aged(scores / "used", 20)
    read = aged(watch / "figures" / "read.json", 40)
    read.write_text("{}")
    assert read_kept(aged(read, 40)) == {}
    planned = collect(home, CONFIG, now=time.time())
    assert names(planned, "cache") == {"cache/watch", "cache/watch/figures", "cache/scores/shelf"}
    assert all(item.bytes == 100 for item in planned)
    assert [path.exists() for path in (*old, *young, read)] == [False] * 3 + [True] * 4
    assert collect(home, CONFIG, now=time.time()) == []


def test_the_last_scorings_keep_what_they_made_beside_the_last_trainings(home: Home) -> None:
    trained, scored = make_artifact(home, "clean", "trained"), make_artifact(home, "clean", "scored")
    make_run(home, "training", {"clean": trained}, nth=2)
    night = make_run(home, "scoring", {"clean": scored}, nth=1)
    record = json.loads((night.folder / "run.json").read_bytes())
    (night.folder / "run.json").write_text(json.dumps(record | {"trigger": "scoring in airflow"}))
    assert plan_collection(home, CONFIG, now=LATER) == []
