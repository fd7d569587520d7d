"""The stage `audit`: what it writes for the gate, that it is quiet, and that unchanged events cost nothing."""

import json
import logging
from pathlib import Path

import pytest

from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.pipeline import Run
from behavior_tasks.pipeline.execute import build_stage
from tests.pipeline.test_audit import started


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def clean_events(run: Run) -> list[str]:
    made: list[str] = []
    for name in ("simulate", "source", "ingest", "clean"):
        wanted = {"simulate": [], "source": ["simulate"], "ingest": ["source", "simulate"], "clean": ["ingest"]}[name]
        uris = [uri for uri in made if uri.split("/")[2] in wanted]
        made.append(build_stage(name, run, uris).artifact.uri)
    return made[-1:]


def audited(run: Run, clean: list[str]) -> tuple[dict[str, object], bool]:
    built = build_stage("audit", run, clean)
    return json.loads((built.artifact.path / "audit.json").read_bytes()), built.reused


def test_a_clean_sample_is_said_to_be_clean_and_audited_once(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = started(gate__audit_events=3000)
    clean = clean_events(run)
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="behavior"):
        found, reused = audited(run, clean)
    assert (found["clean"], found["failed"], found["problem"], reused) == (True, [], None, False)
    assert found["checks"] > 20
    assert 1000 < found["events"] < 5000
    assert not [record for record in caplog.records if record.name == "behavior" and record.levelno < logging.ERROR]
    assert audited(started(gate__audit_events=3000, gate__min_f1=0.1), clean) == (found, True)


def test_without_events_nothing_is_audited_and_too_few_are_a_problem(home: Path) -> None:
    clean = clean_events(started())
    found, _ = audited(started(gate__audit_events=0), clean)
    assert (found["clean"], found["checks"], found["problem"]) == (False, 0, "gate.audit_events is 0")
    found, _ = audited(started(gate__audit_events=1), clean)
    assert (found["clean"], found["checks"]) == (False, 0)
    assert found["problem"]
