"""The timeline: windows never overlap across splits, whole local days, daylight saving included."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior_tasks.base.timeline import plan, shortest_history_days

HOUR = timedelta(hours=1)


@given(
    days=st.integers(0, 400),
    minutes=st.integers(0, 1439),
    horizon=st.integers(1, 40),
    cutoffs=st.integers(1, 9),
    every=st.integers(1, 30),
    zone=st.sampled_from(["UTC", "Asia/Shanghai", "Europe/London", "America/New_York"]),
)
def test_no_window_reaches_into_a_later_split(
    days: int, minutes: int, horizon: int, cutoffs: int, every: int, zone: str
) -> None:
    first = datetime(2024, 1, 1, 8, 30)
    last = first + timedelta(days=days, minutes=minutes)
    line = plan(first, last, horizon_days=horizon, train_cutoffs=cutoffs, train_every_days=every, timezone=zone)
    if line is None:
        assert days < shortest_history_days(horizon) + 3
        return
    assert 1 <= len(line.train) <= cutoffs
    assert all(w.end <= line.validation.cutoff for w in line.train)
    assert line.validation.end <= line.test.cutoff
    assert line.test.end <= last + HOUR
    assert line.fit_until <= line.validation.cutoff
    assert line.train[0].cutoff >= first + timedelta(days=1)
    assert [w.cutoff for w in line.windows] == sorted(w.cutoff for w in line.windows)
    for w in line.windows:
        assert abs((w.end - w.cutoff) - timedelta(days=horizon)) <= HOUR


def test_the_day_on_which_the_log_breaks_off_is_no_part_of_a_window() -> None:
    line = plan(
        datetime(2010, 12, 1, 8, 26),
        datetime(2011, 12, 9, 12, 50),
        horizon_days=30,
        train_cutoffs=2,
        train_every_days=14,
        timezone="Europe/London",
    )
    assert line is not None
    assert line.test.cutoff == datetime(2011, 11, 9)
    assert line.test.end == datetime(2011, 12, 9)
    assert line.validation.cutoff == datetime(2011, 10, 9, 23)  # midnight of British summer time
    assert line.validation.end <= line.test.cutoff


@pytest.mark.parametrize(("days", "fits"), [(shortest_history_days(7) - 1, False), (shortest_history_days(7), True)])
def test_the_shortest_history_is_the_shortest(days: int, fits: bool) -> None:
    first = datetime(2026, 1, 1)
    last = first + timedelta(days=days) - timedelta(minutes=1)
    line = plan(first, last, horizon_days=7, train_cutoffs=3, train_every_days=7)
    assert (line is not None) == fits
