"""The MLflow run of a watched day: one a day, found again, finished or failed, and waiting while MLflow is down."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.registry import store
from behavior_tasks.registry.delivery import deliver_all
from behavior_tasks.registry.outbox import Entry
from behavior_tasks.registry.watch_run import SUFFIX, keep_watch_run, monitoring, watch_run_id

DAY = date(2026, 5, 5)


def runs(home: Home) -> list[Any]:
    with store.connect(home) as client:
        experiment = client.get_experiment_by_name(Config().registry.experiment + SUFFIX)
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id]))


def test_a_day_has_one_run_though_it_is_watched_again(home: Home, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    for value in (0.5, 0.6):
        page.write_text(f"page {value}")
        keep_watch_run(
            home, Config(), day=DAY, metrics={"served.shopper.f1": value}, tags={"alerts": "none"}, files=[page]
        )
    keep_watch_run(home, Config(), day=date(2026, 5, 6), metrics={}, tags={})
    found = {run.data.tags["day"]: run for run in runs(home)}
    assert len(found) == len(runs(home)) == 2
    run = found["2026-05-05"]
    assert (run.info.status, run.data.tags["kind"], run.data.tags["alerts"]) == ("FINISHED", "monitoring", "none")
    assert run.data.metrics["served.shopper.f1"] == pytest.approx(0.6)


def test_a_watch_that_failed_is_a_failed_run_with_its_reason_until_it_is_mended(home: Home) -> None:
    keep_watch_run(home, Config(), day=DAY, metrics={}, tags={}, failed="ingest: too many bad rows")
    (run,) = runs(home)
    assert run.info.status == "FAILED"
    assert run.data.tags["ended"] == "ingest: too many bad rows"
    keep_watch_run(home, Config(), day=DAY, metrics={"traffic.events": 7}, tags={})
    (run,) = runs(home)
    assert run.info.status == "FINISHED"


def test_while_mlflow_is_down_the_day_waits_and_is_delivered_later(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    down = store.UnreachableError("The MLflow server does not answer.")

    def unreachable(*_: object) -> None:
        raise down

    with monkeypatch.context() as patch:
        patch.setattr(store, "experiment_id", unreachable)
        keep_watch_run(home, Config(), day=DAY, metrics={"traffic.events": 7}, tags={})
    assert Entry(home, watch_run_id(DAY)).waiting == ["start", "results", "end"]
    deliver_all(home)
    (run,) = runs(home)
    assert (run.info.status, run.data.metrics["traffic.events"]) == ("FINISHED", 7)


def test_the_experiment_is_beside_that_of_the_trainings() -> None:
    assert monitoring(Config()).registry.experiment == "behavior-monitoring"
