"""What was handed out in words: one odd week is no alarm, several of horizons apart are."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from behavior_tasks.watch.came import Row
from behavior_tasks.watch.handed_findings import find_in_handed_out
from behavior_tasks.watch.handed_out import table_of

TODAY, HORIZON = date(2026, 5, 29), 7


def output(weeks_ago: float, application: str, figure: str, about: str = "", **numbers: Any) -> Row:
    """Return a figure of an output; of 0 weeks ago is the newest whose horizon is over today."""
    as_of = TODAY - timedelta(days=HORIZON) - timedelta(days=round(7 * weeks_ago))
    dates = {"as_of": as_of, "until": as_of + timedelta(days=HORIZON)}
    return {"application": application, "state": "judged", "figure": figure, "about": about, **dates, **numbers}


def inside(weeks_ago: float, value: float, count: int = 400) -> Row:
    return output(weeks_ago, "demand", "inside", value=value, count=count, asked=0.8, promised=0.8)


def hit(weeks_ago: float, value: float, *, promised: float = 0.5, half: float = 0.03) -> Row:
    ends = {"lower": value - half, "upper": value + half}
    said = {"promised": promised, "promised_lower": promised - half, "promised_upper": promised + half}
    return output(weeks_ago, "recommendations", "hit", value=value, count=500, **ends, **said)


def buyers(weeks_ago: float, value: float, figure: str = "buyers", lower: float = 20, upper: float = 40) -> Row:
    said = {"promised": 30, "promised_lower": lower, "promised_upper": upper}
    return output(weeks_ago, "audiences", figure, "likely", value=value, count=100, **said)


def set_right(weeks_ago: float, value: float, lower: float) -> Row:
    return buyers(weeks_ago, value, "buyers_set_right", lower, 60)


def codes(*rows: Row, today: date = TODAY) -> list[str]:
    return [finding.code for finding in find_in_handed_out(table_of(rows), today=today)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([inside(0, 0.6), inside(1, 0.6)], ["demand_interval"]),
        ([inside(0, 0.6), inside(0.3, 0.6), inside(1, 0.6)], ["demand_interval"]),
        ([inside(0, 0.6)], []),  # one horizon
        ([inside(0, 0.6), inside(0.5, 0.6)], []),  # the same days twice
        ([inside(0, 0.6), inside(1, 0.8)], []),  # one of two
        ([inside(0, 0.72), inside(1, 0.72)], []),  # sure, but little
        ([inside(0, 0.6, count=20), inside(1, 0.6, count=20)], []),  # chance explains it
        ([inside(0, 0.95), inside(1, 0.95)], []),  # too wide is no harm
        ([hit(0, 0.38), hit(1, 0.38)], ["recommendations_fell"]),
        ([hit(0, 0.38), hit(1, 0.38, half=0.09)], []),  # within its 99 % interval
        ([hit(0, 0.62), hit(1, 0.62)], []),  # better
        ([hit(0, 0.3), hit(1, 0.3, promised=float("nan"))], []),  # nothing was promised
        ([buyers(0, 45), buyers(1, 41), buyers(2, 50)], ["audience_off"]),
        ([buyers(0, 10), buyers(1, 19), buyers(2, 15)], ["audience_off"]),
        ([buyers(0, 45), buyers(1, 19), buyers(2, 50)], []),  # now more, now fewer
        ([buyers(0, 45), buyers(1, 45)], []),
        ([buyers(0, 45), buyers(1, 45), buyers(2, 40)], []),  # the end belongs to the interval
        # What was set right is the promise.
        ([row for n in range(3) for row in (buyers(n, 45), buyers(n, 45, "buyers_set_right", 25, 60))], []),
        (
            [row for n in range(3) for row in (buyers(n, 30), buyers(n, 30, "buyers_set_right", 40, 60))],
            ["audience_off"],
        ),
    ],
)
def test_several_lists_of_horizons_apart_must_be_off(rows: Sequence[Row], expected: list[str]) -> None:
    assert codes(*rows) == expected


def test_what_was_judged_long_ago_is_no_news() -> None:
    rows = [inside(0, 0.6), inside(1, 0.6)]
    assert codes(*rows, today=TODAY + timedelta(days=HORIZON)) == ["demand_interval"]
    assert codes(*rows, today=TODAY + timedelta(days=HORIZON + 1)) == []


def test_the_sentence_names_days_and_figures_and_what_to_do() -> None:
    table = table_of([*(hit(n, 0.38) for n in range(2)), *(buyers(n, 10) for n in range(3)), inside(0, 0.6)])
    lists, audience = find_in_handed_out(table, today=TODAY)
    assert lists.words.startswith(
        "Of the buyers to whom recommendations were handed out on 2026-05-15 and 2026-05-22, 38% and 38% bought"
    )
    assert "promised 50% and 50%" in lists.words
    assert (audience.about, audience.level, audience.training) == ("likely", "warning", False)
    assert "fewer buyers" in audience.words
    assert "10 on 2026-05-08 (20 to 40 expected)" in audience.words


def test_a_damaged_output_is_told() -> None:
    rows = [{"application": "demand", "state": "damaged", "as_of": date(2026, 5, 20)}, inside(1, 0.8)]
    (found,) = find_in_handed_out(table_of(rows), today=TODAY)
    assert (found.code, found.about, found.next_step) == ("damaged", "demand", "behavior score --as-of 2026-05-20")


def test_shops_that_keep_their_promises_hardly_ever_alarm() -> None:
    """Some weeks are odd for everybody at once, beyond what intervals by product or shopper know."""
    draw, alarms = np.random.default_rng(11), 0
    for _ in range(80):
        rows: list[Row] = []
        for week in range(3):
            odd = draw.normal(0, 0.05)
            rows.append(inside(week, draw.binomial(400, np.clip(0.8 + odd, 0, 1)) / 400))
            rows.append(hit(week, draw.normal(0.5 + odd / 2, 0.015), promised=draw.normal(0.5, 0.015)))
            rows.append(buyers(week, draw.poisson(30 * (1 + odd))))
        alarms += len(codes(*rows))
    assert alarms <= 1
