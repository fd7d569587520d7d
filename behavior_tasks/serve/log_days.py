"""The days of a log: the clean events in; how many there are on each local day before an instant, and how many came
twice, out.

Days are counted in one pass over the instants, in quarters of an hour, to which every time zone's midnights keep, and
products in another. The one thing to know: a day is a local day of the log, whatever the machine's clock says.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

import duckdb

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.tables import connect, parquet_sql, quote
from behavior_tasks.base.timeline import local_day
from behavior_tasks.data.events import open_events
from behavior_tasks.data.parts import LogPart
from behavior_tasks.model.event_folder import MARKET_FILES
from behavior_tasks.serve.champions import Champion

QUARTER_SECONDS = 900


@dataclass(frozen=True, kw_only=True)
class LogDays:
    """What a log holds before an instant, by local day; days without an event are not among them."""

    events: dict[date, int]
    """Clean events, in the order of the days."""
    doubled: dict[date, int]
    """Rows that cleaning left out, because the same row was there before."""
    later: int
    """Clean events at the instant or after it."""

    @property
    def last(self) -> date:
        """The last day with an event before the instant."""
        return max(self.events)


def count_days(clean: Artifact, parts: Sequence[LogPart], cutoff: datetime, timezone: str) -> LogDays:
    """Count a log's events by local day.

    Args:
        clean: the artifact of clean events.
        parts: the log's files, whose events have the days of the same time zone.
        cutoff: naive UTC; only events before it have days.
        timezone: whose midnights part the days.
    """
    zone = ZoneInfo(timezone)
    with connect() as connection:
        events = _quarters(connection, _stored_sql(clean))
        apart = _by_day(
            _quarters(connection, f"SELECT * FROM read_parquet({quote(clean.path / 'apart.parquet')})"), zone
        )
    before = {quarter: count for quarter, count in events.items() if quarter < cutoff}
    kept = _by_day(before, zone)
    read: Counter[date] = Counter()
    for part in parts:
        read.update({date.fromisoformat(day): count for day, count in part.days.items()})
    # Of what was read, cleaning keeps each row once, or sets it apart for another reason.
    doubled = {day: read[day] - count - apart.get(day, 0) for day, count in kept.items()}
    return LogDays(
        events=kept,
        doubled={day: count for day, count in doubled.items() if count > 0},
        later=sum(events.values()) - sum(before.values()),
    )


class Unseen(NamedTuple):
    """Events on products, and how many of them are about products that a champion has never seen."""

    unknown: int
    every: int

    @property
    def share(self) -> float:
        """The share of the unknown; 0 without events."""
        return self.unknown / self.every if self.every else 0.0


Span = tuple[datetime, datetime]
"""An instant and a later one (naive UTC), which is no part of it."""


def unseen_products(clean: Artifact, spans: Sequence[tuple[Champion, Sequence[Span]]]) -> list[list[Unseen]]:
    """Count the events that are about products which a champion has never seen, in one pass for all of them.

    What it has seen is what was popular in the month before it was tested.

    Args:
        clean: the artifact of clean events.
        spans: champions, and between which instants events count for each.

    Returns:
        What each champion has not seen, in the order of its spans.
    """
    if not spans:
        return []
    unknown, counted, places = [], [], []
    for number, (champion, own) in enumerate(spans):
        known = quote(champion.events / MARKET_FILES[0])
        unknown.append(f"product_id NOT IN (SELECT product_id FROM read_parquet({known})) AS unknown_{number}")
        for begin, end in own:
            within = f"(timestamp >= TIMESTAMP '{begin}' AND timestamp < TIMESTAMP '{end}')"
            places.append(within)
            counted.append(f"count(*) FILTER ({within} AND unknown_{number}), count(*) FILTER ({within})")
    with connect() as connection:
        row = connection.execute(f"""
            SELECT {", ".join(counted)} FROM (
                SELECT timestamp, {", ".join(unknown)} FROM ({_stored_sql(clean)})
                WHERE product_id <> '' AND ({" OR ".join(places)})
            )
        """).fetchone()
    assert row is not None  # an aggregate has one row
    pairs = (Unseen(unknown=row[at], every=row[at + 1]) for at in range(0, len(row), 2))
    return [list(islice(pairs, len(own))) for _, own in spans]


def _stored_sql(clean: Artifact) -> str:
    files = sorted({file for bucket in open_events(clean) for file in bucket.files})
    return f"SELECT * FROM {parquet_sql(files)}"


def _quarters(connection: duckdb.DuckDBPyConnection, source: str) -> dict[datetime, int]:
    rows = connection.execute(
        f"""SELECT CAST(floor(epoch(timestamp) / {QUARTER_SECONDS}) AS BIGINT), count(*)
        FROM ({source}) GROUP BY 1"""
    ).fetchall()
    return {datetime.fromtimestamp(q * QUARTER_SECONDS, UTC).replace(tzinfo=None): n for q, n in rows}


def _by_day(quarters: dict[datetime, int], zone: ZoneInfo) -> dict[date, int]:
    days: Counter[date] = Counter()
    for quarter, count in quarters.items():
        days[local_day(quarter, zone)] += count
    return dict(sorted(days.items()))
