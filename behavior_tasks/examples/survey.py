"""The survey: one look over every bucket of clean events, for what the doctor judges beside the plain counts.

In come the buckets, the label windows and the shop's zone; out comes one `Survey` for the whole log: events by local
hour, how coarse the times are, how long ids live, and what shoppers do before the train and the test cutoffs. The
one thing to know: each bucket gives a Survey of its own and they add up exactly, for a shopper lies in one bucket.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import reduce
from typing import TypeVar

import duckdb

from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.tables import connect
from behavior_tasks.base.timeline import Timeline
from behavior_tasks.data.events import BucketEvents

Key = TypeVar("Key")
TOP_INSTANTS = 5
UNKNOWN = "unknown"
"""What `clean` writes for a missing category."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was counted, of one bucket or of the whole log."""

    hours: Counter[datetime] = field(default_factory=Counter)
    """Events by local hour."""
    coarse: Counter[str] = field(default_factory=Counter)
    """Events whose local time is a whole `second`, `minute`, `hour` or `day`."""
    instants: Counter[datetime] = field(default_factory=Counter)
    """Shoppers with an event at one of the instants that most share; a bucket tells of its TOP_INSTANTS only."""
    active: Counter[date] = field(default_factory=Counter)
    """Shoppers by local day."""
    returning: Counter[date] = field(default_factory=Counter)
    """Those of them who were there on an earlier day."""
    ids: Counter[str] = field(default_factory=Counter)
    """`shoppers`, `one_event`, `one_day`; `test_buyers`, and `new_test_buyers` with no event before the cutoff."""
    actions: Mapping[str, Counter[str]] = field(default_factory=dict)
    """Events by action in the horizon before the cutoffs of `train` and of `test`."""
    activity: Mapping[str, Counter[int]] = field(default_factory=dict)
    """Shoppers there by the power of two below their number of events."""
    train_categories: frozenset[str] = frozenset()
    """Categories with an event in the train period."""
    later_categories: Counter[str] = field(default_factory=Counter)
    """Events by category from there to the test cutoff."""

    @property
    def days(self) -> Counter[date]:
        """Events by local day."""
        days: Counter[date] = Counter()
        for hour, events in self.hours.items():
            days[hour.date()] += events
        return days

    @property
    def events(self) -> int:
        """All events."""
        return self.hours.total()


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    events: BucketEvents
    timeline: Timeline | None
    horizon_days: int
    timezone: str
    memory_mb: int


def survey_log(
    events: Sequence[BucketEvents],
    timeline: Timeline | None,
    *,
    horizon_days: int,
    timezone: str,
    engine: EngineConfig,
    rows: int | None = None,
) -> Survey:
    """Survey a log.

    Args:
        events: what `open_events` gives for the clean events.
        timeline: its label windows, or None when it is too short for them; what needs them stays empty then.
        horizon_days: also the days before a cutoff whose events are compared between train and test.
        timezone: the shop's zone.
        engine: who counts.
        rows: events of the log, where they are known.
    """
    jobs = [
        _Bucket(
            events=bucket, timeline=timeline, horizon_days=horizon_days, timezone=timezone, memory_mb=engine.memory_mb
        )
        for bucket in events
    ]
    return reduce(merge, run_buckets(_survey_bucket, jobs, engine=engine, what="survey", rows=rows), Survey())


def merge(one: Survey, other: Survey) -> Survey:
    """Add two buckets' surveys."""
    return Survey(
        hours=one.hours + other.hours,
        coarse=one.coarse + other.coarse,
        instants=one.instants + other.instants,
        active=one.active + other.active,
        returning=one.returning + other.returning,
        ids=one.ids + other.ids,
        actions=_add(one.actions, other.actions),
        activity=_add(one.activity, other.activity),
        train_categories=one.train_categories | other.train_categories,
        later_categories=one.later_categories + other.later_categories,
    )


def _add(one: Mapping[str, Counter[Key]], other: Mapping[str, Counter[Key]]) -> dict[str, Counter[Key]]:
    return {name: one.get(name, Counter()) + other.get(name, Counter()) for name in sorted({*one, *other})}


def _survey_bucket(bucket: _Bucket) -> Survey:
    connection = connect(memory_mb=bucket.memory_mb)
    bucket.events.create_view(connection)
    connection.execute(f"""
        CREATE TABLE timed AS
        SELECT shopper, timestamp, action, category,
               timezone('{bucket.timezone}', timezone('UTC', timestamp)) AS local
        FROM events
    """)
    active, returning = _lives(connection)
    whole = {unit: f"count(*) FILTER (local = date_trunc('{unit}', local))" for unit in ("second", "minute", "hour")}
    whole["day"] = "count(*) FILTER (local = CAST(local AS DATE))"
    coarse = connection.execute(f"SELECT {', '.join(whole.values())} FROM timed").fetchall()[0]
    plain = Survey(
        hours=_counted(connection, "SELECT date_trunc('hour', local), count(*) FROM timed GROUP BY 1"),
        coarse=Counter(dict(zip(whole, coarse, strict=True))),
        instants=_counted(
            connection,
            f"""SELECT timestamp, count(DISTINCT shopper) AS n FROM timed GROUP BY timestamp
            ORDER BY n DESC, timestamp LIMIT {TOP_INSTANTS}""",
        ),
        active=active,
        returning=returning,
        ids=_ids(connection),
    )
    return plain if bucket.timeline is None else merge(plain, _by_windows(connection, bucket.timeline, bucket))


def _counted(connection: duckdb.DuckDBPyConnection, query: str) -> Counter:
    return Counter(dict(connection.execute(query).fetchall()))


def _lives(connection: duckdb.DuckDBPyConnection) -> tuple[Counter[date], Counter[date]]:
    """Return shoppers by local day, and those who had been there before."""
    rows = connection.execute("""
        WITH days AS (SELECT DISTINCT shopper, CAST(local AS DATE) AS day FROM timed),
        since AS (SELECT day, min(day) OVER (PARTITION BY shopper) AS first FROM days)
        SELECT day, count(*), count(*) FILTER (day > first) FROM since GROUP BY day
    """).fetchall()
    return Counter({day: n for day, n, _ in rows}), Counter({day: n for day, _, n in rows if n})


def _ids(connection: duckdb.DuckDBPyConnection) -> Counter[str]:
    row = connection.execute("""
        WITH lives AS (
            SELECT count(*) AS events, count(DISTINCT CAST(local AS DATE)) AS days FROM timed GROUP BY shopper
        )
        SELECT count(*), count(*) FILTER (events = 1), count(*) FILTER (days = 1) FROM lives
    """).fetchall()[0]
    return Counter(dict(zip(("shoppers", "one_event", "one_day"), row, strict=True)))


def _by_windows(connection: duckdb.DuckDBPyConnection, timeline: Timeline, bucket: _Bucket) -> Survey:
    """Survey what depends on the label windows."""
    cutoffs = [(w.split, w.cutoff) for w in timeline.windows if w.split != "validation"]
    test, before = timeline.test, timedelta(days=bucket.horizon_days)
    rows = ", ".join(f"('{split}', TIMESTAMP '{c - before}', TIMESTAMP '{c}')" for split, c in cutoffs)
    connection.execute(f"""
        CREATE TABLE recent AS
        SELECT split, cutoff, shopper, action
        FROM timed JOIN (VALUES {rows}) AS w(split, start, cutoff) ON timestamp >= start AND timestamp < cutoff
    """)
    actions: dict[str, Counter[str]] = {}
    for split, action, n in connection.execute("SELECT split, action, count(*) FROM recent GROUP BY ALL").fetchall():
        actions.setdefault(split, Counter())[action] = n
    activity: dict[str, Counter[int]] = {}
    shares = """
        WITH busy AS (SELECT split, cutoff, shopper, count(*) AS events FROM recent GROUP BY ALL)
        SELECT split, CAST(floor(log2(events)) AS INTEGER) AS power, count(*) FROM busy GROUP BY ALL
    """
    for split, power, n in connection.execute(shares).fetchall():
        activity.setdefault(split, Counter())[power] = n
    bought = f"action = 'purchase' AND timestamp >= TIMESTAMP '{test.cutoff}' AND timestamp < TIMESTAMP '{test.end}'"
    buyers, new = connection.execute(f"""
        WITH lives AS (SELECT min(timestamp) AS first, count(*) FILTER ({bought}) AS bought FROM timed GROUP BY shopper)
        SELECT count(*), count(*) FILTER (first >= TIMESTAMP '{test.cutoff}') FROM lives WHERE bought > 0
    """).fetchall()[0]
    known = f"category IS NOT NULL AND category <> '{UNKNOWN}'"
    categories = connection.execute(f"""
        SELECT category, count(*) FILTER (timestamp < TIMESTAMP '{timeline.fit_until}'),
               count(*) FILTER (timestamp >= TIMESTAMP '{timeline.fit_until}')
        FROM timed WHERE {known} AND timestamp < TIMESTAMP '{test.cutoff}' GROUP BY category
    """).fetchall()
    return Survey(
        ids=Counter(test_buyers=buyers, new_test_buyers=new),
        actions=actions,
        activity=activity,
        train_categories=frozenset(name for name, early, _ in categories if early),
        later_categories=Counter({name: later for name, _, later in categories if later}),
    )
