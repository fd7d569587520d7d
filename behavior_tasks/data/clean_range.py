"""Cleaning one range of shoppers of one file.

In come the range's parsed events, and those of other files on the same days; out come its different events in total
order, its sales once more (what bounds and medians are fitted on), and the events that were set apart. The one thing
to know: it is a pure function of its range, and nothing in it looks beyond the local day of an event.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import duckdb

from behavior_tasks.base.config import CleanConfig, MissingRule
from behavior_tasks.base.schema import PARSED_COLUMNS, SHOPPER_COLUMNS, order_sql
from behavior_tasks.base.tables import full_disk, parquet_sql, write_parquet
from behavior_tasks.data.buckets import Summary, connect_spilling, local_day_sql, write_events
from behavior_tasks.data.coarsen import Coarsening
from behavior_tasks.data.ingest_piece import PARSED_NAMES
from behavior_tasks.data.missing import AMOUNT, PRICE, QUANTITY, SALE_SQL, active_rules, constants, lacks_sql
from behavior_tasks.data.ranges import Range
from behavior_tasks.data.search_words import masked_sql

SALE_COLUMNS = ("shopper", "timestamp", "action", "product_id", "category", "amount")
DUPLICATE, DOUBLE_CLICK, BOT = "duplicate", "double_click", "bot"


def shopper_values(coarsening: Coarsening, timezone: str) -> str:
    """Return the columns of clean events, in SQL over those of parsed ones.

    Args:
        coarsening: how exact ages, genders and times are.
        timezone: the shop's.
    """
    values = {"query": masked_sql("query"), **coarsening.columns(timezone)}
    return ", ".join(f"{values[c.name]} AS {c.name}" if c.name in values else c.name for c in SHOPPER_COLUMNS)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is done to every file alike; the same for all runs over the same log and settings."""

    timezone: str
    constants: Mapping[str, MissingRule]
    drops: tuple[str, ...]
    """Columns whose rule drops the event that lacks them."""
    double_click_seconds: float
    """0: off."""
    bot_events_per_day: int
    """0: off."""
    coarsening: Coarsening

    @property
    def values(self) -> str:
        """The columns of clean events, in SQL over those of parsed ones."""
        return shopper_values(self.coarsening, self.timezone)


def cleaning_rules(config: CleanConfig, present: Collection[str], *, timezone: str, coarsening: Coarsening) -> Rules:
    """Return what is done to every file of a log with these optional columns, in a shop with this zone."""
    return Rules(
        coarsening=coarsening,
        timezone=timezone,
        constants=active_rules(config.missing, present, kind="constant"),
        drops=tuple(active_rules(config.missing, present, kind="drop")),
        double_click_seconds=config.double_click_seconds,
        bot_events_per_day=config.bot_events_per_day,
    )


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """Another file with events on the same local days."""

    runs: tuple[Path, ...]
    days: tuple[str, str]
    """First and last local day (ISO) that count."""
    comes_before: bool
    """An event that stands in both files is kept in the one that comes first."""


@dataclass(frozen=True, kw_only=True)
class RangeJob:
    """One range's work."""

    range: Range
    runs: tuple[Path, ...]
    neighbours: tuple[Neighbour, ...]
    rules: Rules
    events: Path
    sales: Path
    apart: Path
    spill: Path
    memory_mb: int


@dataclass(frozen=True, kw_only=True)
class RangeDone:
    """What one range gave."""

    rows_in: int
    summary: Summary
    removed: Counter[str]
    """Events set apart, by reason."""
    filled: Counter[str]
    """By `derived.<column>` or `constant.<column>`."""


@full_disk()
def clean_range(job: RangeJob) -> RangeDone:
    """Write the clean events of one range, its sales, and what was set apart."""
    with connect_spilling(job.spill, memory_mb=job.memory_mb) as connection:
        rows_in, removed = _read_different(connection, job)
        more, filled = clean_table(connection, job.rules, has_others=bool(job.neighbours))
        removed += more
        summary = write_events(connection, f"(SELECT {job.rules.values} FROM events)", job.events, SHOPPER_COLUMNS)
        if job.rules.coarsening.time_precision == "day":
            first, last = _hours(connection, job.rules.timezone)
            summary = replace(summary, first=first, last=last)
        coarse = f"(SELECT {job.rules.values} FROM events)"
        sales = f"SELECT {', '.join(SALE_COLUMNS)} FROM {coarse} WHERE {SALE_SQL} AND amount > 0 ORDER BY ALL"
        write_parquet(connection, sales, job.sales)
        write_parquet(connection, "SELECT * FROM apart ORDER BY ALL", job.apart)
    return RangeDone(rows_in=rows_in, summary=summary, removed=+removed, filled=+filled)


def clean_table(
    connection: duckdb.DuckDBPyConnection, rules: Rules, *, has_others: bool = False
) -> tuple[Counter[str], Counter[str]]:
    """Clean the table `events`, whose rows are all different; what is set apart goes to a new table `apart`.

    Args:
        connection: has the table with PARSED_COLUMNS; `rules.values` of it are clean events afterwards.
        rules: what is done.
        has_others: whether a table `others` holds further events of the same days.

    Returns:
        Events set apart, by reason, and values filled, by `derived.<column>` or `constant.<column>`.
    """
    columns = ", ".join(f"{c.name} {c.type}" for c in SHOPPER_COLUMNS)
    connection.execute(f"CREATE TEMP TABLE apart (reason VARCHAR, {columns})")
    removed = _set_apart_by_context(connection, rules, has_others=has_others)
    filled = _fill_gaps(connection, rules)
    for column in rules.drops:
        removed[f"missing_{column}"] += _set_apart(connection, f"missing_{column}", lacks_sql(column), rules.values)
    return removed, filled


def _read_different(connection: duckdb.DuckDBPyConnection, job: RangeJob) -> tuple[int, Counter[str]]:
    """Make the table `events` of different rows that no earlier file holds, and `others` of the neighbours' rows."""
    source = f"{parquet_sql(job.runs)} WHERE {job.range.sql()}"
    rows_in = _count(connection, f"SELECT count(*) FROM {source}")
    connection.execute(f"CREATE TEMP TABLE events AS SELECT DISTINCT {PARSED_NAMES} FROM {source}")
    others = [
        f"""SELECT {PARSED_NAMES}, {n.comes_before} AS before FROM {parquet_sql(n.runs)}
        WHERE {job.range.sql()} AND {_day(job)} BETWEEN DATE '{n.days[0]}' AND DATE '{n.days[1]}'"""
        for n in job.neighbours
    ]
    if others:
        connection.execute(f"CREATE TEMP TABLE others AS {' UNION ALL '.join(others)}")
        before = f"SELECT {PARSED_NAMES} FROM others WHERE before"
        _replace_events(connection, f"SELECT {PARSED_NAMES} FROM events EXCEPT {before}")
    different = _count(connection, "SELECT count(*) FROM events")
    return rows_in, Counter({DUPLICATE: rows_in - different})


def _set_apart_by_context(connection: duckdb.DuckDBPyConnection, rules: Rules, *, has_others: bool) -> Counter[str]:
    """Set apart the days of bots, then double-clicks; both look at the neighbours' events too."""
    removed: Counter[str] = Counter()
    day = local_day_sql(rules.timezone)
    whole = f"SELECT {PARSED_NAMES} FROM events"
    if has_others:
        whole = f"{whole} UNION SELECT {PARSED_NAMES} FROM others"
    if rules.double_click_seconds:
        # Found before bots are set apart, so that it does not depend on them; within a local day, because that is as
        # far as files see each other's events.
        microseconds = round(rules.double_click_seconds * 1_000_000)
        connection.execute(f"""CREATE TEMP TABLE clicked AS SELECT {PARSED_NAMES} FROM ({whole})
            QUALIFY epoch_us(timestamp) - lag(epoch_us(timestamp)) OVER (
                PARTITION BY shopper, action, product_id, query, {day} ORDER BY {order_sql(PARSED_COLUMNS)}
            ) <= {microseconds}""")
    if rules.bot_events_per_day:
        # Hardly any shopper has so many events at all, and to count shoppers is cheaper than to count their days.
        most = rules.bot_events_per_day
        busy = f"SELECT shopper FROM ({whole}) GROUP BY shopper HAVING count(*) > {most}"
        connection.execute(f"""CREATE TEMP TABLE bots AS SELECT shopper, {day} AS day FROM ({whole})
            WHERE shopper IN ({busy}) GROUP BY ALL HAVING count(*) > {most}""")
    if rules.bot_events_per_day and _count(connection, "SELECT count(*) FROM bots"):
        removed[BOT] = _set_apart(
            connection, BOT, f"(shopper, {day}) IN (SELECT (shopper, day) FROM bots)", rules.values
        )
    if rules.double_click_seconds:
        same = " AND ".join(f"c.{c.name} IS NOT DISTINCT FROM events.{c.name}" for c in PARSED_COLUMNS)
        condition = f"EXISTS (SELECT 1 FROM clicked AS c WHERE {same})"
        removed[DOUBLE_CLICK] = _set_apart(connection, DOUBLE_CLICK, condition, rules.values)
    return removed


def _hours(connection: duckdb.DuckDBPyConnection, timezone: str) -> tuple[datetime | None, datetime | None]:
    """Return the hours of the first and the last event: whether a log's last day is whole hangs on its last hour."""
    hour = Coarsening(time_precision="hour").columns(timezone)["timestamp"]
    query = f"SELECT min(hour), max(hour) FROM (SELECT {hour} AS hour FROM events)"
    first, last = connection.execute(query).fetchall()[0]
    return first, last


def _day(job: RangeJob) -> str:
    return local_day_sql(job.rules.timezone)


def _set_apart(connection: duckdb.DuckDBPyConnection, reason: str, condition: str, values: str) -> int:
    """Move the events that meet a condition to the table `apart`; return how many."""
    count = _count(connection, f"SELECT count(*) FROM events WHERE {condition}")
    if count:
        connection.execute(f"INSERT INTO apart SELECT '{reason}', {values} FROM events WHERE {condition}")
        _replace_events(connection, f"SELECT {PARSED_NAMES} FROM events WHERE NOT coalesce({condition}, false)")
    return count


def _fill_gaps(connection: duckdb.DuckDBPyConnection, rules: Rules) -> Counter[str]:
    """Fill amounts and constants in the table `events`; return how many values, by `how.column`."""
    steps = [("derived", {"amount": AMOUNT}), ("constant", constants(rules.constants)), ("derived", {"amount": AMOUNT})]
    query = f"SELECT {PARSED_NAMES} FROM events"
    counts: list[str] = []
    queries: list[str] = []
    names: list[str] = []
    for how, values in steps:
        for column, value in values.items():
            names.append(f"{how}.{column}")
            counts.append(f"count(*) FILTER ({column} IS NULL AND ({value}) IS NOT NULL)")
            queries.append(query)
        filling = ", ".join(f"coalesce({column}, {value}) AS {column}" for column, value in values.items())
        query = f"SELECT * REPLACE ({filling}) FROM ({query})" if filling else query
    # Price and quantity follow on reading, when outlying amounts are replaced; how many do is known already.
    for column, value in (("price", PRICE), ("quantity", QUANTITY)):
        names.append(f"derived.{column}")
        counts.append(f"count(*) FILTER ({column} IS NULL AND ({value}) IS NOT NULL)")
        queries.append(query)
    each = ", ".join(f"(SELECT {count} FROM ({source}))" for count, source in zip(counts, queries, strict=True))
    filled: Counter[str] = Counter()
    for name, count in zip(names, connection.execute(f"SELECT {each}").fetchall()[0], strict=True):
        filled[name] += count
    if any(count for name, count in filled.items() if name not in {"derived.price", "derived.quantity"}):
        _replace_events(connection, query)
    return +filled


def _replace_events(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Make what a query over the table `events` gives the new table `events`."""
    connection.execute(f"CREATE TEMP TABLE renewed AS {query}")
    connection.execute("DROP TABLE events")
    connection.execute("ALTER TABLE renewed RENAME TO events")


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(connection.execute(query).fetchall()[0][0])
