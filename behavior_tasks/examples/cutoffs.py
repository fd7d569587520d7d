"""Cutoffs: events become examples, one row per shopper and cutoff, split by time.

In come a log's events by bucket; out come the examples: who had an event in the lookback before a cutoff,
and whether (and for how much) they bought in the horizon from it. A log that can't be learned from is refused
here, with what is missing; an event exactly at a cutoff belongs to the label, never to the history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.config import Config
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import (
    bucket_file,
    combine_hashes,
    connect,
    hash_rows,
    quote,
    write_parquet,
)
from behavior_tasks.base.timeline import Timeline, Window, plan, shortest_history_days
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.examples.doctor import LogCounts, SplitCounts, refuse_if_short

AMOUNT_UNITS = 10_000
"""Amounts are added as whole ten-thousandths, so that a sum never depends on the order of its parts."""


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    """One bucket's work; without `out` the examples are only counted."""

    events: BucketEvents
    out: Path | None
    query: str
    memory_mb: int


@dataclass(frozen=True, kw_only=True)
class _Counted:
    """What one bucket holds."""

    events: int
    shoppers: int
    purchases: int
    priced_purchases: int
    splits: Mapping[str, SplitCounts]
    content_hash: str | None


def cutoffs_stage(job: Job) -> Output:
    """Write the examples of every bucket.

    Raises:
        UserError: when the log is too short, or a split has too few shoppers, buyers or non-buyers.
    """
    clean = job.inputs["clean"]
    timeline = plan_windows(clean.facts, job.config)
    folder = job.out / "examples"
    folder.mkdir()
    counted = _work(open_events(clean), clean.facts, job.config, out=folder)
    counts = _merge(counted, clean.facts, job.config)
    refuse_if_short(counts, job.config)
    assert timeline is not None  # a log without a timeline was refused above
    return Output(
        rows=Rows(
            unit_in="events",
            unit_out="examples",
            rows_in=counts.events,
            rows_out=sum(split.examples for split in counts.splits.values()),
        ),
        content_hash=combine_hashes(part.content_hash or "" for part in counted),
        facts={
            "windows": [
                {"split": w.split, "cutoff": w.cutoff.isoformat(), "end": w.end.isoformat()} for w in timeline.windows
            ],
            "splits": {name: asdict(split) for name, split in counts.splits.items()},
        },
    )


def count_log(events: Sequence[BucketEvents], facts: Mapping[str, Any], config: Config) -> LogCounts:
    """Count what the doctor judges, without writing anything.

    Args:
        events: what `open_events` gives for the clean events.
        facts: their artifact's facts: first and last instant and the columns present.
    """
    return _merge(_work(events, facts, config, out=None), facts, config)


def plan_windows(facts: Mapping[str, Any], config: Config) -> Timeline | None:
    """Return the label windows of a log by its facts, or None when it is too short for them."""
    first, last = _instant(facts, "first"), _instant(facts, "last")
    if first is None or last is None:
        return None
    settings = config.examples
    return plan(
        first,
        last,
        horizon_days=settings.horizon_days,
        train_cutoffs=settings.train_cutoffs,
        train_every_days=settings.train_every_days,
        timezone=config.source.timezone,
    )


def _work(
    events: Sequence[BucketEvents], facts: Mapping[str, Any], config: Config, *, out: Path | None
) -> list[_Counted]:
    timeline = plan_windows(facts, config)
    windows = timeline.windows if timeline else ()
    query = _examples_sql(
        windows,
        lookback_days=config.examples.lookback_days,
        timezone=config.source.timezone,
        has_amounts="amount" in facts.get("present", ()),
    )
    jobs = [
        _Bucket(
            events=bucket,
            out=None if out is None else bucket_file(out, number),
            query=query,
            memory_mb=config.engine.memory_mb,
        )
        for number, bucket in enumerate(events)
    ]
    return run_buckets(_work_bucket, jobs, engine=config.engine, what="cutoffs")


def _work_bucket(bucket: _Bucket) -> _Counted:
    connection = connect(memory_mb=bucket.memory_mb)
    bucket.events.create_view(connection)
    source = f"({bucket.query})"
    if bucket.out is not None:
        write_parquet(connection, bucket.query, bucket.out)
        source = f"read_parquet({quote(bucket.out)})"
    log = connection.execute("""
        SELECT count(*), count(DISTINCT shopper), count(*) FILTER (action = 'purchase'),
               count(amount) FILTER (action = 'purchase')
        FROM events
    """).fetchone()
    assert log is not None  # an aggregate without groups always gives a row
    splits = connection.execute(f"""
        SELECT split, count(*), count(DISTINCT shopper), count(DISTINCT shopper) FILTER (label = 1),
               count(DISTINCT shopper) FILTER (label = 0), coalesce(sum(label), 0)
        FROM {source} GROUP BY split ORDER BY split
    """).fetchall()
    return _Counted(
        events=log[0],
        shoppers=log[1],
        purchases=log[2],
        priced_purchases=log[3],
        splits={
            row[0]: SplitCounts(
                examples=row[1], shoppers=row[2], buyers=row[3], non_buyers=row[4], positives=int(row[5])
            )
            for row in splits
        },
        content_hash=None if bucket.out is None else hash_rows(connection, bucket.out),
    )


def _examples_sql(windows: Sequence[Window], *, lookback_days: int, timezone: str, has_amounts: bool) -> str:
    """SQL of the examples of the view `events`, ordered by cutoff and shopper."""
    zone = ZoneInfo(timezone)
    rows = [
        f"('{w.split}', '{_local_day(w.cutoff, zone)}', {_literal(w.cutoff - timedelta(days=lookback_days))}, "
        f"{_literal(w.cutoff)}, {_literal(w.end)})"
        for w in windows
    ]
    # A log too short for windows still has the query's columns: this window comes before every event.
    never = ", ".join([_literal(datetime.min)] * 3)
    amount = (
        f"CASE WHEN b.shopper IS NULL THEN 0.0 ELSE CAST(b.units AS DOUBLE) / {AMOUNT_UNITS} END"
        if has_amounts
        else "CAST(NULL AS DOUBLE)"
    )
    return f"""
        WITH windows(split, day, start, cutoff, finish) AS (VALUES {", ".join(rows) or f"('train', '', {never})"}),
        eligible AS (
            SELECT DISTINCT e.shopper, w.split, w.day, w.cutoff
            FROM events AS e JOIN windows AS w ON e.timestamp >= w.start AND e.timestamp < w.cutoff
        ),
        bought AS (
            SELECT e.shopper, w.cutoff, sum(CAST(round(e.amount * {AMOUNT_UNITS}) AS BIGINT)) AS units
            FROM events AS e JOIN windows AS w ON e.timestamp >= w.cutoff AND e.timestamp < w.finish
            WHERE e.action = 'purchase'
            GROUP BY e.shopper, w.cutoff
        )
        SELECT s.shopper || '@' || s.day AS example, s.shopper, s.split, s.cutoff,
               CAST(b.shopper IS NOT NULL AS INTEGER) AS label, {amount} AS amount
        FROM eligible AS s LEFT JOIN bought AS b ON b.shopper = s.shopper AND b.cutoff = s.cutoff
        ORDER BY s.cutoff, s.shopper
    """


def _merge(parts: Sequence[_Counted], facts: Mapping[str, Any], config: Config) -> LogCounts:
    """Add up the buckets; a shopper lies in exactly one, so different shoppers add up too."""
    timeline = plan_windows(facts, config)
    first, last = _instant(facts, "first"), _instant(facts, "last")
    names = dict.fromkeys(window.split for window in timeline.windows) if timeline else {}
    return LogCounts(
        first=first,
        last=last,
        history_days=_history_days(first, last, config, too_short=timeline is None),
        events=sum(part.events for part in parts),
        shoppers=sum(part.shoppers for part in parts),
        purchases=sum(part.purchases for part in parts),
        priced_purchases=sum(part.priced_purchases for part in parts),
        splits={name: _add([part.splits.get(name, SplitCounts()) for part in parts]) for name in names},
    )


def _add(parts: Sequence[SplitCounts]) -> SplitCounts:
    totals = {name: sum(getattr(part, name) for part in parts) for name in asdict(SplitCounts())}
    return SplitCounts(**totals)


def _history_days(first: datetime | None, last: datetime | None, config: Config, *, too_short: bool) -> int:
    """Whole days from the first event to the end of the last whole local day."""
    if first is None or last is None:
        return 0
    horizon_days = config.examples.horizon_days
    # A first event far enough back always has a plan, and the plan's end depends on the last event alone.
    long_ago = last - timedelta(days=4 * horizon_days + 2)
    known_end = plan(
        long_ago,
        last,
        horizon_days=horizon_days,
        train_cutoffs=1,
        train_every_days=1,
        timezone=config.source.timezone,
    )
    assert known_end is not None  # four horizons and two days hold three windows and a day
    days = max(0, (known_end.test.end - first) // timedelta(days=1))
    # A day of 25 hours can make a log that is too short look long enough.
    return min(days, shortest_history_days(horizon_days) - 1) if too_short else days


def _instant(facts: Mapping[str, Any], name: str) -> datetime | None:
    value = facts.get(name)
    return datetime.fromisoformat(value) if value else None


def _local_day(instant: datetime, zone: ZoneInfo) -> str:
    return instant.replace(tzinfo=UTC).astimezone(zone).date().isoformat()


def _literal(instant: datetime) -> str:
    return f"TIMESTAMP '{instant.isoformat(sep=' ')}'"
