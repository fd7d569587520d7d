"""Counts for the data report, bucket by bucket.

In comes one bucket of clean events; out come small counts (by day, hour, column, amount, events of a shopper) that add
up over the buckets, and a file of the bucket's different products. The one thing to know: nothing here names a
shopper, and no count is larger than a day's actions, whatever the size of the log.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.tables import quote, write_parquet
from behavior_tasks.data.buckets import connect_spilling
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.data.missing import APPLIES, SALE_SQL

BINS_PER_DECADE = 8
BIN_SQL = f"CAST(floor(log10({{0}}) * {BINS_PER_DECADE}) AS INTEGER)"
"""An amount's place on the logarithmic scale: bin k holds 10^(k/8) up to, but without, 10^((k+1)/8)."""
COLUMNS = tuple(c.name for c in SHOPPER_COLUMNS if not c.required)


@dataclass(frozen=True, kw_only=True)
class CountJob:
    """One bucket's work."""

    events: BucketEvents
    products: Path
    """Where the bucket's different products go, one column `product_id`."""
    spill: Path
    memory_mb: int
    timezone: str


@dataclass(kw_only=True)
class Counts:
    """What one bucket, or all together, hold."""

    events: int = 0
    first: datetime | None = None
    """Naive UTC."""
    last: datetime | None = None
    days: Counter[tuple[date, str]] = field(default_factory=Counter)
    """By local day and action."""
    hours: Counter[tuple[int, int]] = field(default_factory=Counter)
    """By weekday (1: Monday) and hour, local."""
    applies: Counter[str] = field(default_factory=Counter)
    """By column: events that should have a value."""
    lacking: Counter[str] = field(default_factory=Counter)
    """By column: those of them that have none."""
    amounts: Counter[int] = field(default_factory=Counter)
    """By bin of the amount of a sale, where it is above zero."""
    free: int = 0
    """Sales with an amount of zero."""
    shoppers: Counter[int] = field(default_factory=Counter)
    """Number of events → shoppers that have so many."""


def merge_counts(parts: Iterable[Counts]) -> Counts:
    """Return the counts of all buckets together."""
    whole = Counts()
    for part in parts:
        whole.events += part.events
        whole.free += part.free
        whole.first = min((t for t in (whole.first, part.first) if t), default=None)
        whole.last = max((t for t in (whole.last, part.last) if t), default=None)
        for name in ("days", "hours", "applies", "lacking", "amounts", "shoppers"):
            getattr(whole, name).update(getattr(part, name))
    return whole


def count_bucket(job: CountJob) -> Counts:
    """Count one bucket of clean events and write its different products."""
    with connect_spilling(job.spill, memory_mb=job.memory_mb) as connection:
        job.events.create_view(connection, "clean_events")
        local = f"timezone('{job.timezone}', timezone('UTC', timestamp))"
        connection.execute(f"CREATE TEMP TABLE events AS SELECT *, {local} AS local FROM clean_events")
        write_parquet(connection, "SELECT DISTINCT product_id FROM events WHERE product_id <> ''", job.products)
        events, first, last = connection.execute(
            "SELECT count(*), min(timestamp), max(timestamp) FROM events"
        ).fetchall()[0]
        sold = f"FROM events WHERE {SALE_SQL} AND amount"
        sizes = "SELECT count(*) AS n FROM events GROUP BY shopper"
        return Counts(
            events=events,
            first=first,
            last=last,
            days=_counter(connection, "SELECT CAST(local AS DATE), action, count(*) FROM events GROUP BY ALL"),
            hours=_counter(connection, "SELECT isodow(local), hour(local), count(*) FROM events GROUP BY ALL"),
            applies=_by_column(connection, "{applies}"),
            lacking=_by_column(connection, "{applies} AND {column} IS NULL"),
            amounts=_counter(connection, f"SELECT {BIN_SQL.format('amount')}, count(*) {sold} > 0 GROUP BY ALL"),
            free=connection.execute(f"SELECT count(*) {sold} = 0").fetchall()[0][0],
            shoppers=_counter(connection, f"SELECT n, count(*) FROM ({sizes}) GROUP BY n"),
        )


def count_amounts(connection: duckdb.DuckDBPyConnection, file: Path, column: str) -> Counter[int]:
    """Count a column of a file of replaced amounts by bin."""
    source = f"FROM read_parquet({quote(file)}) WHERE {column} > 0"
    return _counter(connection, f"SELECT {BIN_SQL.format(column)}, count(*) {source} GROUP BY ALL")


def _counter(connection: duckdb.DuckDBPyConnection, query: str) -> Counter[Any]:
    """Return what a query counts: its last column, by the one before it or by a tuple of those before it."""
    rows = connection.execute(query).fetchall()
    return Counter({row[0] if len(row) == 2 else row[:-1]: row[-1] for row in rows})


def _by_column(connection: duckdb.DuckDBPyConnection, condition: str) -> Counter[str]:
    counted = [condition.format(applies=f"({APPLIES[column]})", column=column) for column in COLUMNS]
    query = f"SELECT {', '.join(f'count(*) FILTER (WHERE {one})' for one in counted)} FROM events"
    return Counter(dict(zip(COLUMNS, connection.execute(query).fetchall()[0], strict=True)))
