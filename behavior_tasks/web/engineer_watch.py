"""The watch: its kept days in; open alerts, drift by column and day, and matured F1 against what was promised, out.

The one thing to know: all of it is what `behavior watch` has written; a day that nobody watched is not in it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from behavior_tasks.base.home import Home
from behavior_tasks.watch.alerts import JOURNAL, Alert
from behavior_tasks.watch.folders import day_folder, kept_days
from behavior_tasks.watch.kept_day import find_kept
from behavior_tasks.web.remember import remembered

SHOWN_DAYS, SHOWN_COLUMNS = 30, 16


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """How far columns lay from the champion's test, the farthest first."""

    days: Sequence[date]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    """(columns, days): stability index above chance; None where it was not compared."""


@dataclass(frozen=True, kw_only=True)
class Matured:
    """F1 of what was served, once its horizon was over."""

    unit: str
    version: str
    days: Sequence[Mapping[str, Any]]
    """`as_of`, `f1`, `f1_lower`, `f1_upper`, `examples`; oldest first."""
    promised: float | None
    """F1 of the version's own test."""
    waiting: int
    """Served days that have not matured."""
    next_on: date | None
    """When the next of them does."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the newest watched day says."""

    day: date
    alerts: Sequence[Alert]
    heat: HeatMap
    matured: Sequence[Matured]


def read_standing(home: Home) -> Standing | None:
    """Return what stands; None when no day was watched yet."""
    days = kept_days(home)[-SHOWN_DAYS:]
    if not days:
        return None
    files = [home.watch, home.watch / JOURNAL, *(day_folder(home, day) for day in days)]
    return remembered(("standing", str(home.root)), files, lambda: _read(home, days))


def _read(home: Home, days: Sequence[date]) -> Standing | None:
    kept = find_kept(home, days[-1])
    if kept is None:
        return None
    found = (find_kept(home, day) for day in days)
    drift = [one.table("drift").assign(day=one.day) for one in found if one is not None]
    return Standing(
        day=kept.day,
        alerts=kept.standing.alerts,
        heat=heat_map(pd.concat([table for table in drift if len(table)] or drift[:1], ignore_index=True)),
        matured=matured_by_version(kept.table("matured")),
    )


def heat_map(drift: pd.DataFrame) -> HeatMap:
    """Return the farthest columns by day.

    Args:
        drift: `watch.drift.COLUMNS` of some days.
    """
    if not len(drift):
        return HeatMap(days=(), columns=(), values=())
    names = drift["unit"].map({"shopper": "", "shopper_product": "product: "}) + drift["column"]
    table = drift.assign(name=names).pivot_table(index="name", columns="day", values="excess", aggfunc="last")
    farthest = table.max(axis=1).sort_values(ascending=False, kind="stable").index[:SHOWN_COLUMNS]
    table = table.loc[farthest]
    return HeatMap(
        days=[pd.Timestamp(str(day)).date() for day in table.columns],
        columns=[str(name) for name in table.index],
        values=[[_number(value) for value in row] for row in table.to_numpy()],
    )


def matured_by_version(matured: pd.DataFrame) -> list[Matured]:
    """Return a table of `watch.matured.COLUMNS` by unit and version, the newest version first."""
    found = []
    days = matured[matured["what"] == "day"]
    for (unit, version), rows in days.groupby(["unit", "version"], sort=False):
        test = matured[(matured["what"] == "test") & (matured["unit"] == unit) & (matured["version"] == version)]
        judged = rows[rows["f1"].notna()].tail(SHOWN_DAYS * 2)
        waiting = rows[rows["state"] == "not matured"]
        found.append(
            Matured(
                unit=str(unit),
                version=str(version),
                days=[
                    {
                        "as_of": row["as_of"].date(),
                        **{name: _number(row[name]) for name in ("f1", "f1_lower", "f1_upper", "examples")},
                    }
                    for row in judged.to_dict("records")
                ],
                promised=_number(test["f1"].iloc[-1]) if len(test) else None,
                waiting=len(waiting),
                next_on=waiting["until"].min().date() if len(waiting) else None,
            )
        )
    return found[::-1]


def _number(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
