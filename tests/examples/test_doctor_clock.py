"""The doctor on clocks: made-up hours and days in, the findings that they should give out."""

from collections import Counter
from datetime import datetime, timedelta

import pytest

from behavior_tasks.base.config import load_config
from behavior_tasks.base.timeline import Timeline, plan
from behavior_tasks.examples.doctor import Finding
from behavior_tasks.examples.doctor_clock import clock_findings
from behavior_tasks.examples.survey import Survey

START = datetime(2026, 3, 2)
DAYS = 56
OPEN = range(9, 22)


def survey(*, shift: int = 0, days: int = DAYS, **other: Counter[str] | Counter[datetime]) -> Survey:
    """A shop with ten events in each hour from 9 to 22, every day."""
    hours = Counter({START + timedelta(days=d, hours=(h + shift) % 24): 10 for d in range(days) for h in OPEN})
    hours[START + timedelta(days=days - 1, hours=23)] = 1
    given: dict[str, Counter] = {"instants": Counter({START: 2}), "ids": Counter(shoppers=500), **other}
    return Survey(hours=hours, **given)


def found(what: str, seen: Survey, *, removed: dict[str, int] | None = None, **settings: object) -> Finding | None:
    config = load_config("canonical", overrides={f"source.{name}": value for name, value in settings.items()})
    findings = clock_findings(seen, removed or {}, timeline(), config)
    return next((finding for finding in findings if finding.what == what), None)


def timeline() -> Timeline | None:
    last = START + timedelta(days=DAYS, seconds=-1)
    return plan(START, last, horizon_days=7, train_cutoffs=2, train_every_days=7)


def level(what: str, seen: Survey, **given: object) -> str | None:
    finding = found(what, seen, **given)  # type: ignore[arg-type]
    return finding.level if finding else None


def test_a_quiet_log_has_nothing_to_tell() -> None:
    findings = clock_findings(survey(), {}, timeline(), load_config("canonical"))
    assert {finding.what: finding.level for finding in findings if finding.level != "ok"} == {}


def test_rows_set_aside_for_their_time_count_unless_they_are_expected() -> None:
    what = "rows set aside for their time"
    events = survey().events
    few, many = events // 1100, events // 900
    assert level(what, survey(), removed={"bad_timestamp": few, "missing_user_id": events}) == "ok"
    assert level(what, survey(), removed={"outside_period": many}) == "warn"
    assert level(what, survey(), removed={"outside_period": many}, expected_reasons=["outside_period"]) == "ok"


def test_times_without_a_time_of_day() -> None:
    n = survey().events
    fine, days = Counter(second=n, minute=n // 2), Counter(second=n, minute=n, hour=n, day=n - n // 200)
    assert level("finest time", survey(coarse=fine)) == "ok"
    finding = found("finest time", survey(coarse=days))
    assert finding is not None
    assert (finding.level, finding.number) == ("warn", "one day")
    # The hours of such a log mean nothing, so they are not judged.
    assert found("middle of the day", survey(coarse=days)) is None


@pytest.mark.parametrize(("shoppers", "expected"), [(20, "ok"), (21, "warn")])
def test_many_shoppers_in_one_instant(shoppers: int, expected: str) -> None:
    instants = Counter({datetime(2026, 3, 5): shoppers, datetime(2026, 3, 4): 3})
    assert level("shoppers in one instant", survey(instants=instants)) == expected


@pytest.mark.parametrize("shift", range(-11, 13))
def test_a_clock_that_is_hours_off_is_told_by_how_many(shift: int) -> None:
    finding = found("middle of the day", survey(shift=shift))
    assert finding is not None
    # Its day runs from 9 to 22 with its middle at half past three.
    assert finding.level == ("ok" if -6 <= shift <= 5 else "warn")
    if finding.level == "warn":
        told = int(finding.advice.split(" hours ")[0].rpartition(" ")[2])
        behind = "behind" in finding.advice
        assert abs((told if behind else -told) + shift) % 24 in (0, 1, 23)


def test_a_log_of_two_days_has_no_rhythm_to_judge() -> None:
    assert found("middle of the day", survey(shift=12, days=2)) is None
    assert level("middle of the day", survey(shift=12, days=3)) == "warn"


def test_hours_that_are_all_alike() -> None:
    flat = Survey(
        hours=Counter({START + timedelta(hours=h): 10 for h in range(24 * DAYS)}), instants=Counter({START: 1})
    )
    finding = found("middle of the day", flat)
    assert finding is not None
    assert finding.level == "warn"
    assert finding.number.startswith("none")


def test_days_without_events_are_named_with_the_windows_they_hide() -> None:
    seen = survey()
    for day in (50, 51, 10):
        for hour in range(24):
            del seen.hours[START + timedelta(days=day, hours=hour)]
    finding = found("days without any event", seen)
    assert finding is not None
    assert finding.level == "warn"
    assert finding.number == "3 (2026-04-21 to 2026-04-22, 2026-03-12)"
    assert "label window of test" in finding.advice


def test_a_shop_that_is_closed_on_saturdays_has_no_gaps() -> None:
    seen = survey()
    for hour in list(seen.hours):
        if hour.weekday() == 5:
            del seen.hours[hour]
    assert level("days without any event", seen) == "ok"
    for hour in range(24):
        del seen.hours[datetime(2026, 4, 1, hour)]
    assert level("days without any event", seen) == "warn"


def test_days_and_a_last_day_cut_short() -> None:
    seen = survey()
    for hour in OPEN[2:]:
        del seen.hours[START + timedelta(days=20, hours=hour)]
    thin = found("days with few events", seen)
    assert thin is not None
    assert thin.number == "1 (2026-03-22)"
    assert level("last day", seen) == "ok"
    for hour in OPEN[1:]:
        del seen.hours[START + timedelta(days=DAYS - 1, hours=hour)]
    assert level("last day", seen) == "warn"
    del seen.hours[START + timedelta(days=DAYS - 1, hours=23)]
    cut = found("last day", seen)
    assert cut is not None
    assert cut.level == "ok"
    assert "left out of the labels" in cut.number


def test_events_of_the_hour_that_occurs_twice_matter_for_local_times_only() -> None:
    what, begin = "times that occur twice", datetime(2025, 10, 20)
    hours = Counter({begin + timedelta(days=d, hours=h): 10 for d in range(14) for h in OPEN})
    hours[datetime(2025, 10, 26, 1)] = 30
    seen = Survey(hours=hours, instants=Counter({begin: 1}), ids=Counter(shoppers=10))
    london = {"timezone": "Europe/London"}
    assert level(what, seen, **london, time_format="%Y-%m-%d %H:%M:%S") == "warn"
    assert level(what, seen, **london, time_format="unix_seconds") is None
    assert level(what, seen, timezone="UTC", time_format="iso") is None
    hours[datetime(2025, 10, 26, 1)] = 1
    finding = found(what, seen, **london, time_format="iso")
    assert finding is not None
    assert finding.level == "ok"
    assert finding.number == "1 events; the clock changes 1 times (2025-10-26)"
