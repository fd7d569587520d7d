"""What stands beside a task, a run, and in a message about a failed run: figures and names, no place and no secret."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.pipeline import check_settings, open_run, run_note, stage_note, start_run, why_it_failed
from behavior_tasks.pipeline.execute import run_stages
from behavior_tasks.pipeline.nights import missed_nights
from behavior_tasks.pipeline.notes import refusal_note

DAY = date(2026, 11, 23)
ROWS = (
    "user_id,action,product_id,timestamp\n1,browse,1001,1628751662\n1,click,1001,1628751672\n,browse,1002,1628752662\n"
)
LINK = "https://airflow.shop.example/dags/behavior_training/runs/one"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return Home(tmp_path / "home")


def failed_run(tmp_path: Path) -> str:
    """A run whose log has too many bad rows."""
    log = tmp_path / "shop" / "bad.csv"
    log.parent.mkdir()
    log.write_text(ROWS, encoding="utf-8")
    run = start_run("one", day=DAY, trigger="manual", input_path=str(log))
    with pytest.raises(UserError):
        run_stages(run, until="clean")
    return run


def test_a_finished_stage_tells_its_rows_and_their_fate(home: Home, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(ROWS, encoding="utf-8")
    run = start_run("one", day=DAY, trigger="manual", input_path=str(log), overrides={"source.max_bad_fraction": 1})
    run_stages(run, until="ingest")
    note = stage_note(run, "ingest")
    assert "3 rows → 2 rows (missing_user_id 1)" in note
    assert note.endswith(" s")
    run_stages(run, until="ingest")
    assert stage_note(run, "ingest").endswith("found finished, nothing was computed")
    assert run_note(run) == open_run(run).record.name


def test_a_failed_run_says_where_and_why_and_names_no_place(home: Home, tmp_path: Path) -> None:
    run = failed_run(tmp_path)
    note = run_note(run)
    assert note.startswith("failed in ingest: ")
    failure = why_it_failed("behavior_training", "one", link=LINK, check=lambda: None)
    assert failure.stage == "ingest"
    assert failure.why in note
    assert failure.what_to_do
    assert LINK in failure.text
    for told in (note, failure.model_dump_json()):
        assert str(tmp_path) not in told
    assert run_note(run, broken=True) == note


def test_a_run_that_ended_without_a_reason_says_so(home: Home) -> None:
    run = start_run("one", day=DAY, trigger="manual")
    assert run_note(run, broken=True).startswith("failed: a fault of the program")
    failure = why_it_failed("behavior_training", "one", link=LINK, check=lambda: None)
    assert "read the log of the red task" in failure.what_to_do


def test_a_run_that_never_began_names_all_that_is_wrong_with_its_settings(home: Home) -> None:
    wrong = {"preset": "canonical", "config_file": None, "overrides": {"train.epoch": 1, "gate.min_f1": 7}}
    failure = why_it_failed("behavior_training", "two", link=LINK, check=lambda: check_settings(**wrong))
    assert failure.stage == "start"
    assert all(name in failure.why for name in ("2 mistakes", "train.epochs", "gate.min_f1"))


def test_a_refusal_keeps_its_places_and_passwords_to_itself() -> None:
    error = UserError(
        "The file /srv/shop/log.csv is empty.", found="postgresql://ada:secret@db/shop", next_step="see /srv/shop"
    )
    assert refusal_note(error) == "The file log.csv is empty. Next: see shop"
    assert "secret" not in refusal_note(error, whole=True)
    assert "postgresql://ada@db/shop" in refusal_note(error, whole=True)


def test_a_missed_night_is_seen_on_the_next_one(home: Home) -> None:
    moment = datetime(2026, 11, 24, 7, tzinfo=UTC)

    def found(**settings: str) -> dict[str, str]:
        return {one.code: f"{one.words} {one.next_step}" for one in missed_nights(home, moment, settings=settings)}

    assert found() == {}, "nobody has ever meant to run it by night"
    for days in (1, 3, 4):
        start_run(f"night {days}", day=moment.date() - timedelta(days=days), trigger="nightly")
    start_run("scored", day=moment.date(), trigger="scoring in airflow")
    told = found()
    assert list(told) == ["missed_training"]
    assert "2026-11-22, 2026-11-24" in told["missed_training"]
    assert "--from-date 2026-11-22 --to-date 2026-11-25" in told["missed_training"], "the night of the 24th too"
    # On Mondays alone: the 16th was before the first night that is known, the 23rd is there.
    assert found(BEHAVIOR_SCHEDULE="0 2 * * 1") == {}
    assert "night 2026-11-22 never" in found(BEHAVIOR_SCHEDULE="30 6 * * *")["missed_training"], "it may be late"
    assert "2026-11-22 never" in found(BEHAVIOR_TIMEZONE="Asia/Shanghai")["missed_training"], "02:00 there is 18:00 UTC"
    start_run("by hand", day=moment.date(), trigger="manual")
    assert "night 2026-11-22 never began" in found()["missed_training"]
