"""How a run of the watch ends: kept by day and in MLflow, one training asked for, a failure with its reason."""

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import pytest

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.pipeline import ask_for_training, conclude_watch, open_run, start_run, watched_problems
from behavior_tasks.pipeline.runs import StageRecord
from behavior_tasks.registry import store
from behavior_tasks.registry.watch_run import SUFFIX
from behavior_tasks.watch import stage
from behavior_tasks.watch.alerts import Finding
from behavior_tasks.watch.day import Watched

DAY = date(2026, 5, 5)
FELL = Finding(code="f1_fell", about="shopper 1", level="severe", words="It fell.", next_step="train", training=True)
OUTAGE = Finding(code="outage", about="purchase", level="severe", words="None came.", next_step="mend")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)
    return Home(tmp_path)


def start(run_id: str) -> str:
    return start_run(run_id, day=date(2026, 5, 6), trigger="monitoring", as_of=DAY)


def finished(run_id: str, watched: Watched) -> str:
    uri = start(run_id)
    run = open_run(uri)

    def work(out: Path, key: str) -> Output:
        stage.write_tables(watched, out)
        rows = Rows(unit_in="answers", unit_out="answers", rows_in=0, rows_out=0)
        return Output(rows=rows, facts={"as_of": str(DAY), "champions": watched.champions})

    named = {"found": [finding.code for finding in watched.findings]}
    made = run.store.build(stage="watch", code="", settings=named, inputs={}, work=work).artifact
    run.keep(StageRecord(stage="watch", uri=made.uri, seconds=0.0, reused=False))
    return uri


def statuses(home: Home) -> list[tuple[str, str]]:
    with store.connect(home) as client:
        experiment = client.get_experiment_by_name(f"behavior{SUFFIX}")
        found = client.search_runs([experiment.experiment_id]) if experiment else []
    return [(run.info.run_name, run.info.status) for run in found]


@pytest.mark.slow
def test_a_day_ends_kept_and_asks_for_one_training_a_day(
    home: Home, bare_day: Callable[[Sequence[Finding]], Watched]
) -> None:
    first, outage = finished("first", bare_day([FELL])), finished("outage", bare_day([OUTAGE]))
    assert ask_for_training(first) == "the day was not watched"
    kept = conclude_watch(first)
    assert (kept.folder / "report.html").is_file()
    assert (kept.folder / "plots" / "f1.png").is_file()
    assert watched_problems(first) == ["It fell. It stands since 2026-05-05. What to do: train."]
    assert ask_for_training(first) is None
    assert ask_for_training(first) is None

    second = finished("second", bare_day([FELL]))
    conclude_watch(second)
    assert "already" in str(ask_for_training(second))

    conclude_watch(outage)
    assert "nothing severe" in str(ask_for_training(outage))
    assert statuses(home) == [("2026-05-05 watch", "FINISHED")]


def test_a_watch_that_stopped_is_a_failed_run_and_takes_nothing_away(
    home: Home, bare_day: Callable[[Sequence[Finding]], Watched]
) -> None:
    stopped = start("stopped")
    open_run(stopped).note("error", {"stage": "ingest", "message": "Too many rows are bad.\n  found: 9"})
    with pytest.raises(UserError, match="stopped in the stage ingest"):
        conclude_watch(stopped)
    assert statuses(home) == [("2026-05-05 watch", "FAILED")]

    kept = conclude_watch(finished("good", bare_day([])))
    page = (kept.folder / "report.html").read_bytes()
    assert b"Nothing is out of the ordinary" in page
    with pytest.raises(UserError):
        conclude_watch(stopped)
    assert (kept.folder / "report.html").read_bytes() == page
    assert statuses(home) == [("2026-05-05 watch", "FINISHED")]
