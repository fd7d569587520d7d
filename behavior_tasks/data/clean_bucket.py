"""Cleaning one bucket, in two passes with the fit of the whole log between them.

In comes a bucket of `ingest`; the first pass writes its different events, derived and filled as far as needs no
fit, the second replaces outliers, fills medians and writes the final order. The one thing to know: each pass is a
pure function of its bucket, so whoever runs the buckets, the same rows come out.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from behavior_tasks.base.config import CleanConfig, MissingRule
from behavior_tasks.base.schema import EVENT_COLUMNS
from behavior_tasks.base.tables import quote, write_parquet
from behavior_tasks.data.buckets import Summary, connect_spilling, summarise, write_sorted
from behavior_tasks.data.missing import SALE_SQL, constants, lacks_sql
from behavior_tasks.data.outliers import Fits, make_fit_table, outlying_sql, replaced_amount_sql

EVENT_NAMES = ", ".join(c.name for c in EVENT_COLUMNS)
DECIMALS = 6
"""Derived values are rounded, so that 2.55 x 6 is 15.3."""
AMOUNT = f"CASE WHEN {SALE_SQL} THEN round(price * quantity, {DECIMALS}) END"
PRICE = f"CASE WHEN {SALE_SQL} AND quantity > 0 THEN round(amount / quantity, {DECIMALS}) END"
QUANTITY = f"CASE WHEN {SALE_SQL} AND amount > 0 AND price > 0 THEN nullif(round(amount / price, {DECIMALS}), 0) END"


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """The first pass over one bucket."""

    source: Path
    out: Path
    spill: Path
    memory_mb: int
    constants: Mapping[str, MissingRule]
    drops: tuple[str, ...]
    """Columns whose rule drops the event that lacks them."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the first pass counted."""

    rows_in: int
    rows_out: int
    duplicates: int
    dropped: Counter[str]
    filled: Counter[str]
    """By `derived.<column>` or `constant.<column>`."""
    first: datetime | None
    """First instant that is left, naive UTC."""
    last: datetime | None


@dataclass(frozen=True, kw_only=True)
class Finish:
    """The second pass over one bucket."""

    prepared: Path
    out: Path
    replaced: Path
    spill: Path
    memory_mb: int
    config: CleanConfig
    amounts: Fits | None
    """Bounds and medians of the amounts; None: no outlier is looked for."""
    medians: Mapping[str, Fits]
    """By column whose rule is the median."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What the second pass counted."""

    summary: Summary
    filled: Counter[str]
    """By `derived.<column>` or `median.<column>`."""


def prepare_bucket(job: Preparation) -> Prepared:
    """Write the different events of a bucket with amounts derived, constants filled and incomplete ones dropped."""
    with connect_spilling(job.spill, memory_mb=job.memory_mb) as connection:
        source = f"read_parquet({quote(job.source)})"
        rows_in = _count(connection, f"SELECT count(*) FROM {source}")
        connection.execute(f"CREATE TEMP TABLE events AS SELECT DISTINCT {EVENT_NAMES} FROM {source}")
        different = _count(connection, "SELECT count(*) FROM events")
        filled = _fill(connection, {"amount": AMOUNT}, "derived")
        filled += _fill(connection, constants(job.constants), "constant")
        filled += _fill(connection, {"amount": AMOUNT}, "derived")
        dropped: Counter[str] = Counter()
        for column in job.drops:
            dropped[column] = _count(connection, f"SELECT count(*) FROM events WHERE {lacks_sql(column)}")
            connection.execute(f"DELETE FROM events WHERE {lacks_sql(column)}")
        write_sorted(connection, "events", job.out, EVENT_COLUMNS)
        rows_out, first, last = connection.execute(
            "SELECT count(*), min(timestamp), max(timestamp) FROM events"
        ).fetchall()[0]
    return Prepared(
        rows_in=rows_in,
        rows_out=rows_out,
        duplicates=rows_in - different,
        dropped=dropped,
        filled=filled,
        first=first,
        last=last,
    )


def finish_bucket(job: Finish) -> Finished:
    """Write the clean events of a bucket, and the amounts that were replaced."""
    with connect_spilling(job.spill, memory_mb=job.memory_mb) as connection:
        connection.execute(f"CREATE TEMP TABLE events AS SELECT {EVENT_NAMES} FROM read_parquet({quote(job.prepared)})")
        _replace_outliers(connection, job)
        filled = _fill(connection, {"price": PRICE, "quantity": QUANTITY}, "derived")
        for column, fits in job.medians.items():
            filled += _fill(connection, {column: _median_sql(connection, column, fits)}, "median")
        filled += _fill(connection, {"amount": AMOUNT}, "derived")
        write_sorted(connection, "events", job.out, EVENT_COLUMNS)
        return Finished(summary=summarise(connection, job.out, EVENT_COLUMNS), filled=filled)


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(connection.execute(query).fetchall()[0][0])


def _fill(connection: duckdb.DuckDBPyConnection, values: Mapping[str, str], how: str) -> Counter[str]:
    """Fill missing values from SQL expressions; return how many, by `how.column`."""
    filled: Counter[str] = Counter()
    for column, value in values.items():
        condition = f"{column} IS NULL AND ({value}) IS NOT NULL"
        filled[f"{how}.{column}"] = _count(connection, f"SELECT count(*) FROM events WHERE {condition}")
    if filled.total():
        filling = ", ".join(f"coalesce({column}, {value}) AS {column}" for column, value in values.items())
        connection.execute(f"CREATE TEMP TABLE filled AS SELECT * REPLACE ({filling}) FROM events")
        connection.execute("DROP TABLE events")
        connection.execute("ALTER TABLE filled RENAME TO events")
    return +filled


def _replace_outliers(connection: duckdb.DuckDBPyConnection, job: Finish) -> None:
    """Replace each amount of a sale outside its category's bounds, and keep the original."""
    fits = job.amounts or Fits.none()
    make_fit_table(connection, "amount_fits", fits, "events")
    connection.execute(f"""
        CREATE TEMP TABLE judged AS
        SELECT e.*, f.low, f.high, {outlying_sql()} AS outlying, {replaced_amount_sql(job.config)} AS replacement
        FROM events AS e JOIN amount_fits AS f ON f.category IS NOT DISTINCT FROM e.category
    """)
    kept = """SELECT user_id, timestamp, action, product_id, category, 'amount' AS replaced_column,
        amount AS original, replacement, low, high FROM judged WHERE outlying ORDER BY ALL"""
    write_parquet(connection, kept, job.replaced)
    connection.execute("DROP TABLE events")
    connection.execute(f"""
        CREATE TEMP TABLE events AS SELECT {EVENT_NAMES.replace("amount", "replacement AS amount")} FROM judged
    """)


def _median_sql(connection: duckdb.DuckDBPyConnection, column: str, fits: Fits) -> str:
    """Return the median of an event's category, else of the whole log, where the event lacks a value."""
    make_fit_table(connection, f"{column}_medians", fits, "events")
    own = f"SELECT median FROM {column}_medians AS m WHERE m.category IS NOT DISTINCT FROM events.category"
    median = f"CAST(round(({own})) AS INTEGER)" if column == "age" else f"({own})"
    return f"CASE WHEN {lacks_sql(column)} THEN {median} END"
