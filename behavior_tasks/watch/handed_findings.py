"""Findings on what was handed out: promised and real figures in; what somebody should hear of it, in plain words, out.

A week may be odd for everybody at once, and intervals by product or by shopper know nothing of that. The one thing to
know: so an alert needs several lists in a row, of horizons that do not overlap, each beyond its own interval.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import pandas as pd

from behavior_tasks.serve.audiences_lift import wilson
from behavior_tasks.serve.demand import FAR_OFF
from behavior_tasks.watch.alerts import Finding
from behavior_tasks.watch.came import JUDGED
from behavior_tasks.watch.findings import DEVIATIONS

SURE = 0.99
IN_A_ROW, AUDIENCE_IN_A_ROW = 2, 3
"""Lists of horizons apart that must all be off: of audiences more, because there are many of them."""
HALF_WIDTH = 1.959964
"""Standard deviations from the middle to an end of a 95 % interval."""


def find_in_handed_out(table: pd.DataFrame, *, today: date) -> Iterator[Finding]:
    """Yield what the outputs of demand, recommendations and audiences say, once they are judged.

    Args:
        table: of `watch.handed_out.COLUMNS`.
        today: the watched day; what was last judged more than a horizon ago is no news.
    """
    yield from _damaged(table)
    judged = table[table["state"] == JUDGED]
    yield from _demand(_apart(judged[judged["figure"] == "inside"], IN_A_ROW, today))
    recommended = judged[(judged["application"] == "recommendations") & (judged["figure"] == "hit")]
    yield from _recommendations(_apart(recommended, IN_A_ROW, today))
    audiences = judged[judged["application"] == "audiences"]
    for name, rows in audiences.groupby("about", sort=True):
        best = rows[rows["figure"].isin(["buyers", "buyers_set_right"])]
        # Where the interval was set right by what came before, that one is the promise.
        best = best.sort_values(["as_of", "figure"], kind="stable").drop_duplicates("as_of", keep="last")
        yield from _audience(str(name), _apart(best, AUDIENCE_IN_A_ROW, today))


def _apart(rows: pd.DataFrame, most: int, today: date) -> list[dict[str, Any]]:
    """Return the newest rows whose horizons do not overlap, newest first: so many, or none where there are fewer."""
    taken: list[dict[str, Any]] = []
    for row in rows.sort_values("as_of", ascending=False, kind="stable").to_dict("records"):
        begin, end = (pd.Timestamp(row[name]).date() for name in ("as_of", "until"))
        if not taken and today - end > end - begin:
            return []
        if not taken or end <= taken[-1]["as_of"]:
            taken.append({**{str(name): value for name, value in row.items()}, "as_of": begin})
        if len(taken) == most:
            return taken
    return []


def _damaged(table: pd.DataFrame) -> Iterator[Finding]:
    for application, rows in table[table["state"] == "damaged"].groupby("application"):
        day = pd.Timestamp(rows["as_of"].iloc[-1]).date()
        yield Finding(
            code="damaged",
            about=str(application),
            level="warning",
            words=f"What was handed out on {day} ({application}) is damaged, so it can't be judged.",
            next_step=f"behavior score --as-of {day}",
        )


def _demand(lists: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    def is_off(row: dict[str, Any]) -> bool:
        count = round(row["count"])
        _, upper = wilson(round(row["value"] * count), count, SURE)
        return bool(upper < row["asked"] and row["value"] < row["asked"] - FAR_OFF)

    if not lists or not all(map(is_off, lists)):
        return
    yield Finding(
        code="demand_interval",
        about="demand",
        level="warning",
        words=f"The demand intervals handed out on {_days(lists)} shall hold {lists[0]['asked']:.0%} of the products, "
        f"and held {_shares(lists)}, which chance does not explain.",
        next_step="order with more in reserve than `safe` says until it mends, and look at the page of the demand: are "
        "there prices, a season or campaigns that its past does not know?",
    )


def _recommendations(lists: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    def is_off(row: dict[str, Any]) -> bool:
        sides = [(row[f"{side}upper"] - row[f"{side}lower"]) / (2 * HALF_WIDTH) for side in ("", "promised_")]
        # NaN, of a list without a promise, is not below.
        return bool(row["value"] - row["promised"] + DEVIATIONS * math.hypot(*sides) < 0)

    if not lists or not all(map(is_off, lists)):
        return
    yield Finding(
        code="recommendations_fell",
        about="recommendations",
        level="warning",
        words=f"Of the buyers to whom recommendations were handed out on {_days(lists)}, {_shares(lists)} bought "
        f"something of their list; the study had promised {_shares(lists, 'promised')}, and chance does not explain "
        "the difference.",
        next_step="behavior recommend tells which method serves and why; look whether products were renamed or the "
        "range is new, and whether the shop shows the lists of the day",
    )


def _audience(name: str, lists: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    below = [row["value"] < row["promised_lower"] for row in lists]
    above = [row["value"] > row["promised_upper"] for row in lists]
    if not lists or not (all(below) or all(above)):
        return
    told = ", ".join(
        f"{row['value']:,.0f} on {row['as_of']} ({row['promised_lower']:,.0f} to {row['promised_upper']:,.0f} expected)"
        for row in reversed(lists)
    )
    fewer = "count on as many as came, not as were expected, until the scores are right again"
    more = "it may be the contact itself: behavior lift tells; else read its expected figures as too low"
    yield Finding(
        code="audience_off",
        about=name,
        level="warning",
        words=f"The audience {name} brought {'fewer' if all(below) else 'more'} buyers than its interval says, "
        f"{len(lists)} lists in a row: {told}.",
        next_step=fewer if all(below) else more,
    )


def _days(lists: Sequence[dict[str, Any]]) -> str:
    return " and ".join(str(row["as_of"]) for row in reversed(lists))


def _shares(lists: Sequence[dict[str, Any]], column: str = "value") -> str:
    return " and ".join(f"{row[column]:.0%}" for row in reversed(lists))
