"""Alerts over days: what goes on is one alert, watching again changes nothing, and a training is asked for once."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from behavior_tasks.base.home import Home
from behavior_tasks.watch.alerts import JOURNAL, Finding, claim_training, keep_day, read_journal

MONDAY = date(2026, 5, 4)


def finding(code: str = "outage", about: str = "purchase", level: str = "severe", **more: object) -> Finding:
    return Finding.model_validate(
        {"code": code, "about": about, "level": level, "words": "W.", "next_step": "do", **more}
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_an_alert_that_goes_on_keeps_its_first_day_over_a_short_pause_and_not_over_a_long_one(home: Home) -> None:
    seen = {}
    for days, found in {0: [finding()], 1: [finding()], 2: [], 5: [finding()], 12: [finding()]}.items():
        day = MONDAY + timedelta(days=days)
        seen[days] = keep_day(home, found, day)
    assert [a.since for a in seen[1].alerts] == [MONDAY]
    assert seen[2].alerts == ()
    assert [a.since for a in seen[5].alerts] == [MONDAY]
    assert not seen[5].new
    assert [a.since for a in seen[12].new] == [MONDAY + timedelta(days=12)]


def test_alerts_about_other_things_are_other_alerts_and_the_severest_word_counts(home: Home) -> None:
    keep_day(home, [finding()], MONDAY)
    tuesday = MONDAY + timedelta(days=1)
    found = keep_day(home, [finding(about="click"), finding(level="notice"), finding()], tuesday)
    assert [(a.about, a.level, a.since) for a in found.alerts] == [
        ("purchase", "severe", MONDAY),
        ("click", "severe", tuesday),
    ]


def test_watching_a_day_again_adds_nothing_unless_it_found_something_else(home: Home) -> None:
    path = home.watch / JOURNAL
    keep_day(home, [finding()], MONDAY)
    before = path.read_bytes()
    keep_day(home, [finding()], MONDAY)
    assert path.read_bytes() == before
    keep_day(home, [], MONDAY)
    assert path.read_bytes().startswith(before)
    assert read_journal(home)[MONDAY].alerts == ()


def test_an_older_day_watched_later_does_not_know_the_newer_ones(home: Home) -> None:
    keep_day(home, [finding()], MONDAY)
    sunday = MONDAY - timedelta(days=1)
    assert keep_day(home, [finding()], sunday).new
    assert list(read_journal(home)) == [sunday, MONDAY]


def test_half_a_line_left_by_a_crash_is_passed_over_and_then_replaced(home: Home) -> None:
    keep_day(home, [finding()], MONDAY)
    path = home.watch / JOURNAL
    path.write_bytes(path.read_bytes() + b'{"day":"2026-05-05","al')
    assert list(read_journal(home)) == [MONDAY]
    keep_day(home, [finding()], MONDAY + timedelta(days=1))
    assert len(read_journal(home)) == 2
    assert path.read_bytes().count(b"\n") == 2


def test_a_training_is_asked_for_once_a_day_by_the_run_that_came_first(home: Home) -> None:
    alerts = keep_day(home, [finding("f1_fell", training=True)], MONDAY).alerts
    assert claim_training(home, today=MONDAY, run_id="a", alerts=alerts) is None
    assert claim_training(home, today=MONDAY, run_id="a", alerts=alerts) is None
    assert "already" in str(claim_training(home, today=MONDAY, run_id="b", alerts=alerts))
    assert claim_training(home, today=MONDAY + timedelta(days=1), run_id="b", alerts=alerts) is None


@pytest.mark.parametrize("found", [[], [finding()], [finding("prices", level="warning", training=True)]])
def test_nothing_asks_for_a_training_but_what_is_severe_and_mended_by_one(home: Home, found: list[Finding]) -> None:
    alerts = keep_day(home, found, MONDAY).alerts
    assert "nothing severe" in str(claim_training(home, today=MONDAY, run_id="a", alerts=alerts))
    assert not (home.watch / "trainings.json").exists()
