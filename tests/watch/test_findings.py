"""What the figures say in words: only whole intervals alarm, and only what a training mends asks for one."""

from datetime import date
from typing import Any, cast

import pandas as pd
import pytest

from behavior_tasks.base.application_config import WatchConfig
from behavior_tasks.serve.champions import Champion
from behavior_tasks.watch import drift, matured
from behavior_tasks.watch.findings import find_in_columns, find_in_dates, find_in_figures


class Named:
    """What the findings ask of a champion."""

    unit, version, name = "shopper", "3", "behavior"


CHAMPION = cast(Champion, Named())


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    day = date(2026, 5, 4)
    base = {"unit": "shopper", "version": "3", "as_of": day, "until": day, "state": "judged", "served": 100}
    base |= {"examples": 90, "buyers": 90, "promised": 90.0, "erased": 0, "changed": 0, "f1": 0.5, "f1_sd": 0.01}
    base |= {"buyers_per_promised_lower": 0.9, "buyers_per_promised_upper": 1.1}
    return pd.DataFrame([{**base, **row} for row in rows], columns=list(matured.COLUMNS))


def told(pooled: dict[str, Any], test: dict[str, Any]) -> list[tuple[str, str, bool]]:
    rows = table({"what": "day"}, {"what": "pooled", **pooled}, {"what": "test", **test})
    found = find_in_figures(rows, CHAMPION, WatchConfig())
    return [(finding.code, finding.level, finding.training) for finding in found]


@pytest.mark.parametrize(
    ("pooled", "test", "expected"),
    [
        ({}, {"f1": 0.56}, [("f1_fell", "severe", True)]),
        ({}, {"f1": 0.54}, []),  # less than the margin
        ({}, {"f1": 0.56, "f1_sd": 0.03}, []),  # chance explains it
        ({"f1": 0.62}, {}, []),  # it rose
        ({"buyers": 20}, {"f1": 0.9}, []),  # too few buyers to say anything
        ({"buyers_per_promised_lower": 1.31, "buyers_per_promised_upper": 2.0}, {}, [("calibration", "warning", True)]),
        ({"buyers_per_promised_lower": 0.2, "buyers_per_promised_upper": 0.7}, {}, [("calibration", "warning", True)]),
        ({"buyers_per_promised_lower": 0.7, "buyers_per_promised_upper": 2.0}, {}, []),
    ],
)
def test_a_figure_alarms_with_its_whole_interval_alone(
    pooled: dict[str, Any], test: dict[str, Any], expected: list[tuple[str, str, bool]]
) -> None:
    assert told(pooled, test) == expected


def columns(drifted: int, *, every: int = 10, kind: str = "feature") -> pd.DataFrame:
    rows = [
        {
            "unit": "shopper",
            "version": "3",
            "kind": kind,
            "column": f"c{number}",
            "day": date(2026, 5, 5),
            "reference_day": date(2026, 4, 28),
            "reference_mean": 1.0,
            "mean": 2.0,
            "psi": 0.1 * number,
            "excess": 0.1 * number,
            "state": "drifted" if number < drifted else "steady",
        }
        for number in range(every)
    ]
    return pd.DataFrame(rows, columns=list(drift.COLUMNS))


@pytest.mark.parametrize(
    ("drifted", "expected"),
    [
        (0, []),
        (1, [("columns_moved", "warning", False)]),
        (2, [("columns_moved", "warning", False)]),
        (3, [("columns_moved", "severe", True)]),
    ],
)
def test_a_few_columns_warn_and_many_ask_for_a_training(drifted: int, expected: list[tuple[str, str, bool]]) -> None:
    found = list(find_in_columns(columns(drifted), CHAMPION, WatchConfig()))
    assert [(one.code, one.level, one.training) for one in found] == expected
    if drifted > 1:
        assert f"c{drifted - 1} (0.{drifted - 1}0), c{drifted - 2}" in found[0].words


def test_scores_that_drifted_are_severe_by_themselves() -> None:
    (found,) = find_in_columns(columns(1, every=1, kind="score"), CHAMPION, WatchConfig())
    assert (found.code, found.level) == ("scores_moved", "severe")


def test_many_answers_without_their_events_are_told() -> None:
    assert not list(find_in_dates(table({"what": "day", "changed": 5})))
    (found,) = find_in_dates(table({"what": "day", "changed": 6}))
    assert found.code == "log_rewritten"
