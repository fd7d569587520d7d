"""What was handed out: the served dates of each application and today's log in; a row a figure, promised and real, out.

A date whose horizon is not over yet says until when. The one thing to know: what was measured once is measured again
only when the output, the code, or an event that it stands on has changed, so a night costs what one day costs.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pandas as pd

from behavior_tasks.base.artifacts import hash_of
from behavior_tasks.base.cached import keep_json, read_kept
from behavior_tasks.base.code import code_digest
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.tables import connect
from behavior_tasks.serve.score import Place
from behavior_tasks.serve.served import Served, find_served, served_dates
from behavior_tasks.watch.came import JUDGED, MEASURED, Row
from behavior_tasks.watch.matured import Log

WORDS = ("application", "state", "method", "about", "figure", "note")
NUMBERS = ("value", "lower", "upper", "promised", "promised_lower", "promised_upper", "asked", "rival", "count")
COLUMNS: tuple[str, ...] = (*WORDS, "as_of", "until", *NUMBERS)
"""Columns of `handed_out.parquet`. `about` is an audience; `promised` what the application said when it handed out the
output, with its interval; `asked` the share that an interval shall hold; `rival` the naive method's figure of the same
day; `count` the products, buyers or contacts that the figure is of; `note` why there is none."""
READ: Mapping[str, str] = {
    "demand": "shopper, timestamp, action, product_id, quantity",
    "recommendations": "shopper, timestamp, action, product_id",
    "audiences": "shopper, timestamp, action, amount",
}
"""Application → the columns that its figures stand on. An amount that cleaning replaced may be another one tomorrow."""
BEFORE = frozenset({"recommendations"})
"""Applications whose figures stand on all events before the day, too, and not on sales alone."""


@dataclass(frozen=True, kw_only=True)
class Prints:
    """What the events of each local day are: numbers that change with any event that a figure stands on."""

    days: Mapping[str, Mapping[date, int]]
    """Application → local day → number."""

    def of(self, application: str, begin: date, end: date) -> str:
        """Return what names the events that an application's figures of a horizon [begin, end) stand on."""
        first = date.min if application in BEFORE else begin
        return hash_of([(str(day), n) for day, n in sorted(self.days[application].items()) if first <= day < end])


def take_prints(log: Log, place: Place) -> Prints:
    """Return the prints of a log's days, in one pass; the order of events and buckets plays no part."""
    local = f"CAST(timezone('{log.moment.timezone}', timezone('UTC', timestamp)) AS DATE)"
    counted = {name: "true" if name in BEFORE else "action IN ('purchase', 'return')" for name in READ}
    sums = [f"coalesce(sum(hash({READ[name]})) FILTER ({which}), 0)" for name, which in counted.items()]
    days: dict[str, Counter[date]] = {name: Counter() for name in READ}
    for bucket in log.events:
        with connect(memory_mb=place.engine.memory_mb) as connection:
            bucket.create_view(connection)
            rows = connection.execute(f"""
                SELECT {local} AS day, {", ".join(sums)}
                FROM events WHERE timestamp < TIMESTAMP '{log.moment.cutoff}' GROUP BY day
            """).fetchall()
        for day, *numbers in rows:
            for name, number in zip(READ, numbers, strict=True):
                days[name][day] += int(number)
    return Prints(days=days)


def look_back(home: Home, log: Log, *, days: int, place: Place) -> pd.DataFrame:
    """Return the table of COLUMNS of all applications but risk, whose lists nobody labels; oldest date first.

    Args:
        home: where the served output lies; figures are kept in its cache.
        log: today's.
        days: how far back served dates are looked at.
        place: where and with what is measured.
    """
    oldest = log.moment.as_of - timedelta(days=days)
    rows: list[Row] = []
    prints: Prints | None = None
    for application in MEASURED:
        for as_of in served_dates(home, application):
            if not oldest <= as_of <= log.moment.as_of:
                continue
            base: Row = {"application": application, "as_of": as_of}
            try:
                served = find_served(home, application, as_of)
            except UserError:  # its files are damaged; scoring that day again mends it
                rows.append({**base, "state": "damaged"})
                continue
            if served is None:  # `behavior gc` took it meanwhile
                continue
            base["until"] = as_of + timedelta(days=int(served.facts["horizon_days"]))
            if base["until"] > log.known_until:
                rows.append({**base, "state": "not matured"})
                continue
            prints = prints or take_prints(log, place)
            named = prints.of(application, as_of, base["until"])
            rows += [{**base, **row} for row in _measured(home, served, log, named, place)]
    return table_of(rows)


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows, each with what is known of it, as the table of COLUMNS, oldest date first."""
    table = pd.DataFrame(list(rows), columns=list(COLUMNS))
    words = table[list(WORDS)].astype(object)
    table[list(WORDS)] = words.where(words.notna(), "")
    table[list(NUMBERS)] = table[list(NUMBERS)].astype("float64")
    return table.sort_values(["application", "as_of"], kind="stable", ignore_index=True)


def newest(table: pd.DataFrame) -> pd.DataFrame:
    """Return the figures of the newest judged output of each application."""
    judged = table[table["state"] == JUDGED]
    return judged[judged["as_of"] == judged.groupby("application")["as_of"].transform("max")]


def _measured(home: Home, served: Served, log: Log, named: str, place: Place) -> list[dict[str, Any]]:
    code = code_digest("watch.came")
    key = hash_of(served.application, served.artifact, served.as_of, log.moment.timezone, named, code)
    path = home.cache / "watch" / "handed_out" / f"{key}.json"
    kept = read_kept(path)
    if kept is not None:
        return list(kept)
    found = MEASURED[served.application](served, log, place)
    rows = [{name: value for name, value in row.items() if not _is_undefined(value)} for row in found]
    keep_json(path, rows)
    return rows


def _is_undefined(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
