"""Retention: what is too old goes, what serves stays and is told, and each night leaves a line."""

import json
import os
import shutil
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from behavior_tasks.base.artifacts import Artifact, ArtifactStore
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, Home, sweep_temporary_folders
from behavior_tasks.base.in_use import using_artifacts
from behavior_tasks.base.privacy_config import KEEP_DAYS
from behavior_tasks.pipeline import retention_of
from behavior_tasks.pipeline.privacy import retention
from behavior_tasks.pipeline.privacy.kept import STAGE_KINDS
from behavior_tasks.pipeline.privacy.retention import (
    KINDS,
    KindReport,
    keep_limits,
    last_retention,
    plan_retention,
    retention_findings,
)
from behavior_tasks.pipeline.stages import EVERY
from behavior_tasks.registry import ledger, store
from behavior_tasks.serve.audiences_taken import Taker, take, taken_lists
from behavior_tasks.serve.served import publish, served_dates
from tests.cli.typing_in import exit_code
from tests.pipeline.records import make_artifact, make_run
from tests.serve.test_audiences_taken import chosen

DAY_SECONDS = 86_400
NOW = time.time()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return Home(tmp_path / "home")


def aged(path: Path, days: float) -> Path:
    """Make a path, or a folder with all in it, so many days old."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(b"x" * 100)
    for one in (path, *(path.rglob("*") if path.is_dir() else ())):
        os.utime(one, (NOW - days * DAY_SECONDS,) * 2)
    return path


def old_artifact(home: Home, stage: str, days: float, name: str = "") -> Artifact:
    made = make_artifact(home, stage, f"{stage} {name} {days}")
    aged(made.path, days)
    return made


def of_kind(found: list[KindReport], kind: str) -> KindReport:
    return next(one for one in found if one.kind == kind)


def test_every_stage_and_every_kind_has_its_limit() -> None:
    assert set(EVERY) <= set(STAGE_KINDS)
    assert set(KEEP_DAYS) == set(KINDS)
    config = Config.model_validate({"privacy": {"keep": {"logs": 7}}})
    assert (config.privacy.keep_days("logs"), config.privacy.keep_days("texts")) == (7, KEEP_DAYS["texts"])


def test_what_is_too_old_goes_whoever_might_want_it_and_the_rest_stays(home: Home) -> None:
    old = {stage: old_artifact(home, stage, 500) for stage in ("ingest", "features", "encode", "train", "audiences")}
    young = {stage: old_artifact(home, stage, 100) for stage in ("ingest", "encode")}
    # `behavior gc` would keep what the last run made; its age wins.
    make_run(home, "old", {"encode": old["encode"], "ingest": old["ingest"]})
    files = {
        **{home.raw / "a.csv": 31, home.raw / "b.csv": 29, home.raw / "index" / "a.json": 900},
        **{home.airflow / "logs" / "dag_id=x" / "1.log": 91, home.airflow / "logs" / "dag_id=x" / "2.log": 89},
        **{home.services / "mlflow.log": 91, home.cache / "lift" / "x.json": 31, home.cache / "watch" / "y.json": 29},
        **{home.runs / "old" / "quarantine.parquet": 401, home.privacy / "certificates" / "c.json": 3000},
    }
    for path, days in files.items():
        aged(path, days)
    aged(aged(home.work / "train" / "abc" / "job.json", 40).parent, 40)
    planned = plan_retention(home, Config(), now=NOW)
    assert all(path.exists() for path in (*files, *(one.path for one in old.values())))
    assert not (home.privacy / "retention.jsonl").exists()
    done = keep_limits(home, Config(), now=NOW, who="night")
    assert [(one.kind, one.over, one.bytes) for one in planned] == [(one.kind, one.over, one.bytes) for one in done]
    assert {one.kind: one.deleted for one in done if one.deleted} == {
        **{"raw": 1, "events": 2, "examples": 1, "texts": 1, "models": 1, "scores": 1},
        **{"logs": 2, "work": 1, "cache": 1},
    }
    assert of_kind(done, "raw").oldest_days == 31
    assert of_kind(done, "raw").bytes == 100
    gone = [ArtifactStore(home.artifacts).find(one.manifest.stage, one.key) for one in old.values()]
    assert gone == [None] * 5
    assert all(one.path.exists() for one in young.values())
    left = {path for path in files if path.exists()}
    assert {files[path] for path in left} == {29, 89, 900, 3000}
    assert all(one.over == 0 for one in keep_limits(home, Config(), now=NOW, who="night") if one.kind != "runs")
    line = last_retention(home)
    assert line is not None
    assert (line["who"], line["kinds"]["texts"]["deleted"]) == ("night", 0)
    told = (home.privacy / "retention.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(told[0])["kinds"]["events"] | {"bytes": 0} == {
        **{"limit_days": 400, "oldest_days": 500, "over": 2, "bytes": 0, "deleted": 2, "held": 0},
    }


def crown(home: Home, run_id: str, version: str) -> None:
    fixed = {"kind": "promotion", "model": "behavior", "why": "better", "verdict": "promote", "test_hash": "a"}
    entry = {**fixed, "when": "2026-01-01T00:00:00+00:00", "who": "x", "from_version": None, "version": version}
    ledger.append(home, {**entry, "run_id": run_id})


def test_the_champions_package_and_what_runs_read_today_are_held_and_told(home: Home) -> None:
    champion = {stage: old_artifact(home, stage, 900, "champion") for stage in ("train", "package", "encode")}
    former = {stage: old_artifact(home, stage, 950, "former") for stage in ("train", "package")}
    make_run(home, "former", former)
    make_run(home, "champion", champion)
    crown(home, "former", "1")
    crown(home, "champion", "2")
    part = old_artifact(home, "ingest-part", 900)
    listed = make_artifact(home, "ingest", "listed", {"parts.json": json.dumps([{"uri": part.uri}])})
    aged(listed.path, 900)
    night = make_run(home, "night", {"ingest": listed})
    os.utime(night.folder / "run.json", (NOW - 3600,) * 2)
    found = keep_limits(home, Config(), now=NOW, who="night")
    for one in (champion["train"], champion["package"], part, listed):
        assert one.path.exists()
    for one in (champion["encode"], *former.values()):
        assert not one.path.exists()
    models, events = of_kind(found, "models"), of_kind(found, "events")
    assert (models.over, models.deleted, models.held) == (4, 2, 2)
    assert any(why.startswith("artifacts/package/") and "train anew" in why for why in models.why_held)
    assert (events.held, events.deleted) == (2, 0)
    assert "source.period_start" in events.why_held[0]
    alerts = {one.about: one for one in retention_findings(home, datetime.now(UTC))}
    assert alerts["events"].level == "warning"
    assert "2 are older than 400 days" in alerts["events"].words
    assert not list(retention_findings(Home(home.root / "new"), datetime.now(UTC)))
    late = list(retention_findings(home, datetime.now(UTC) + timedelta(days=4)))
    assert late[0].code == "retention_late"
    # A week later nothing reads the events any more, and they go.
    os.utime(night.folder / "run.json", (NOW - 8 * DAY_SECONDS,) * 2)
    assert of_kind(keep_limits(home, Config(), now=NOW, who="night"), "events").deleted == 2
    assert exit_code("privacy", "retention", "--dry-run") == 3


def test_lists_go_by_when_they_were_taken_and_the_newest_date_stays(home: Home) -> None:
    old = datetime.fromtimestamp(NOW - 401 * DAY_SECONDS, UTC)
    take(home, chosen("a", "b"), Taker(who="anna", when=old))
    take(home, chosen("a", "c", day=date(2026, 3, 2)), Taker(who="anna", when=datetime.now(UTC)))
    for day in (1, 2):
        made = make_artifact(home, "risk", f"{day}", {"served/risk.csv": "x"})
        aged(publish(home, made, date(2026, 3, day)).folder, 500)
        aged(made.path, 500)
    found = keep_limits(home, Config(), now=NOW, who="night")
    assert [one.record.as_of for one in taken_lists(home)] == [date(2026, 3, 2)]
    assert of_kind(found, "campaigns").deleted == 1
    assert served_dates(home, "risk") == [date(2026, 3, 2)]
    assert (of_kind(found, "scores").deleted, of_kind(found, "scores").held) == (1, 3)
    assert any("behavior score" in why for why in of_kind(found, "scores").why_held)


def test_nothing_goes_while_a_stage_is_at_work_and_the_night_says_so(home: Home) -> None:
    old = old_artifact(home, "encode", 500)
    run = make_run(home, "night", {})
    with using_artifacts(home):
        with pytest.raises(UserError, match="A run is at work"):
            keep_limits(home, Config(), now=NOW, who="night")
        assert "The next night tries again" in retention_of(run.uri)
        assert old.path.exists()
        assert last_retention(home) is None
    assert retention_of(run.uri).startswith("too old and deleted: 1 of texts")
    assert not old.path.exists()


def test_a_retention_that_is_killed_leaves_nothing_that_looks_whole(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = old_artifact(home, "encode", 500)

    def killed(folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            keep_limits(home, Config(), now=NOW, who="night")
    assert not old.path.exists()
    assert last_retention(home) is None
    sweep_temporary_folders(home)
    assert not list(home.work.glob(".gone.*"))


def test_a_damaged_ledger_lets_nothing_go(home: Home) -> None:
    old = old_artifact(home, "train", 900)
    crown(home, "x", "1")
    path = ledger.ledger_path(home)
    path.write_bytes(path.read_bytes().replace(b"better", b"bitter"))
    with pytest.raises(ledger.LedgerError):
        keep_limits(home, Config(), now=NOW, who="night")
    assert old.path.exists()


def test_the_command_shows_a_row_for_each_kind(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    old_artifact(home, "encode", 500)
    assert exit_code("privacy", "retention", "--dry-run") == 0
    shown = capfd.readouterr().out
    assert all(kind in shown for kind in KINDS)
    assert "Nothing was deleted. Next: the same without --dry-run" in shown
    assert exit_code("privacy", "retention", "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert next(one for one in told["kinds"] if one["kind"] == "texts")["deleted"] == 1
    assert exit_code("privacy", "retention", "--set", "privacy.keep={textz: 3}") == 2
    assert "texts" in capfd.readouterr().err
    assert retention.LOG == "retention.jsonl"
