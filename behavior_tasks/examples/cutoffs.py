"""Cutoffs: events become examples, one row per shopper (and product) and cutoff, split by time.

In come a log's events by bucket; out come the examples: who had an event in the lookback before a cutoff, or which
products they touched in it, and whether (and for how much) they bought in the horizon from it. A log that can't be
learned from is refused here, with what is missing; an event exactly at a cutoff belongs to the label, never to the
history. Of the unit shopper_product only a sample of train's negatives is kept, each with the weight that makes up
for those left out; validation and test keep every candidate.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from behavior_tasks.base.artifacts import Artifact, Output, Rows
from behavior_tasks.base.config import Config
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import (
    bucket_file,
    bucket_files,
    combine_hashes,
    connect,
    hash_rows,
    quote,
    write_parquet,
)
from behavior_tasks.base.timeline import Timeline, plan, shortest_history_days
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.examples.candidates import Sampling, examples_sql, plan_sampling, sampled_sql
from behavior_tasks.examples.doctor import LogCounts, SplitCounts, refuse_if_short

LOG_COUNTS = ("history_days", "events", "shoppers", "purchases", "priced_purchases")


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


@dataclass(frozen=True, kw_only=True)
class _Thinning:
    """One bucket's examples, all of them, and where to write those that are kept."""

    all_examples: Path
    out: Path
    sampling: Sampling
    memory_mb: int


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What is left of one bucket."""

    examples: int
    train_negatives: int
    content_hash: str


def cutoffs_stage(job: Job) -> Output:
    """Write the examples of every bucket.

    Raises:
        UserError: when the log is too short, or a split has too few shoppers, buyers or non-buyers.
    """
    clean = job.inputs["clean"]
    timeline = plan_windows(clean.facts, job.config)
    folder, events = job.out / "examples", open_events(clean)
    folder.mkdir()
    counted = _work(events, clean.facts, job.config, out=folder)
    counts = _merge(counted, clean.facts, job.config)
    refuse_if_short(counts, job.config)
    assert timeline is not None  # a log without a timeline was refused above
    facts: dict[str, Any] = {
        "unit": job.config.examples.unit,
        "windows": [
            {"split": w.split, "cutoff": w.cutoff.isoformat(), "end": w.end.isoformat()} for w in timeline.windows
        ],
        "splits": {name: asdict(split) for name, split in counts.splits.items()},
        "span": {name: clean.facts.get(name) for name in ("first", "last")},
        "log": {name: getattr(counts, name) for name in LOG_COUNTS},
    }
    examples = sum(split.examples for split in counts.splits.values())
    hashes = [part.content_hash or "" for part in counted]
    if job.config.examples.unit == "shopper_product":
        train = counts.splits["train"]
        sampling = plan_sampling(
            train.positives, train.examples - train.positives, job.config.examples.negatives_per_positive
        )
        kept = _thin_out(folder, sampling, job)
        examples, hashes = sum(part.examples for part in kept), [part.content_hash for part in kept]
        facts["train_negatives"] = {
            "all": sampling.negatives,
            "kept": sum(part.train_negatives for part in kept),
            "weight": sampling.weight,
        }
    return Output(
        rows=Rows(unit_in="events", unit_out="examples", rows_in=counts.events, rows_out=examples),
        content_hash=combine_hashes(hashes),
        facts=facts,
    )


def read_counts(cutoffs: Artifact) -> LogCounts:
    """Return what the stage counted, from its artifact."""
    splits = {name: SplitCounts(**split) for name, split in cutoffs.facts["splits"].items()}
    first, last = (_instant(cutoffs.facts["span"], name) for name in ("first", "last"))
    return LogCounts(first=first, last=last, splits=splits, **cutoffs.facts["log"])


def _thin_out(folder: Path, sampling: Sampling, job: Job) -> list[_Kept]:
    """Put the examples that are kept in the place of all of them, bucket by bucket."""
    every = folder.rename(job.out / "all")
    folder.mkdir()
    engine = job.config.engine
    jobs = [
        _Thinning(all_examples=file, out=bucket_file(folder, number), sampling=sampling, memory_mb=engine.memory_mb)
        for number, file in enumerate(bucket_files(every))
    ]
    kept = run_buckets(_thin_bucket, jobs, engine=engine, what="sampling")
    shutil.rmtree(every)
    return kept


def _thin_bucket(bucket: _Thinning) -> _Kept:
    connection = connect(memory_mb=bucket.memory_mb)
    write_parquet(connection, sampled_sql(f"read_parquet({quote(bucket.all_examples)})", bucket.sampling), bucket.out)
    row = connection.execute(f"""
        SELECT count(*), count(*) FILTER (split = 'train' AND label = 0) FROM read_parquet({quote(bucket.out)})
    """).fetchone()
    assert row is not None  # an aggregate without groups always gives a row
    return _Kept(examples=row[0], train_negatives=row[1], content_hash=hash_rows(connection, bucket.out))


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
    query = examples_sql(
        windows,
        config.examples,
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
