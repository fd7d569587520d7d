"""Features: what is known about a shopper (and a product) just before a cutoff, as numbers.

In come examples and events by bucket; out come the same examples, in the same order, with one column per feature
of `feature_table`. Every feature is made of the events in [cutoff - lookback, cutoff), and NULL where it is
undefined; all sums run over whole numbers, so no feature depends on the order of the events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from behavior_tasks.base.artifacts import Output, Rows
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
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.examples.feature_sql import Feature
from behavior_tasks.examples.feature_table import FEATURES, FeatureSettings
from behavior_tasks.examples.history import link_events, open_cutoffs
from behavior_tasks.examples.market import FrozenMarket, Market, count_market

__all__ = ["EXAMPLE_COLUMNS", "FEATURES", "FeatureSettings", "features_stage", "write_features"]

EXAMPLE_COLUMNS = ("example", "shopper", "product_id", "split", "cutoff", "label", "amount", "weight")


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    examples: Path
    events: BucketEvents
    market: Market
    out: Path
    settings: FeatureSettings
    memory_mb: int


def features_stage(job: Job) -> Output:
    """Write the examples of every bucket with their features."""
    examples = job.config.examples
    settings = FeatureSettings(
        lookback_days=examples.lookback_days,
        horizon_days=examples.horizon_days,
        timezone=job.config.source.timezone,
        unit=examples.unit,
    )
    cutoffs, events = job.inputs["cutoffs"], open_events(job.inputs["clean"])
    engine = job.config.engine
    folder, aside = job.out / "examples", job.out / "market"
    folder.mkdir()
    aside.mkdir()
    market = count_market(
        events,
        _cutoffs(cutoffs.facts),
        aside,
        lookback_days=settings.lookback_days,
        engine=engine,
    )
    jobs = [
        _Bucket(
            examples=file,
            events=bucket,
            market=market,
            out=bucket_file(folder, number),
            settings=settings,
            memory_mb=engine.memory_mb,
        )
        for number, (file, bucket) in enumerate(zip(bucket_files(cutoffs.path / "examples"), events, strict=True))
    ]
    done = run_buckets(_work_bucket, jobs, engine=engine, what="features")
    # Everything that is read of the market now stands in the features; a model that scores by itself takes the newest.
    for file in set(aside.iterdir()) - set(market.files(_newest_cutoff(cutoffs.facts))):
        file.unlink()
    total = sum(rows for rows, _ in done)
    chosen = settings.features()
    return Output(
        rows=Rows(unit_in="examples", unit_out="examples", rows_in=total, rows_out=total),
        content_hash=combine_hashes(content_hash for _, content_hash in done),
        facts={
            "unit": settings.unit,
            "market": _newest_cutoff(cutoffs.facts).isoformat(),
            "features": [feature.name for feature in chosen],
            "categorical": [feature.name for feature in chosen if feature.categorical],
        },
    )


def _cutoffs(facts: Mapping[str, Any]) -> list[datetime]:
    return [datetime.fromisoformat(window["cutoff"]) for window in facts["windows"]]


def _newest_cutoff(facts: Mapping[str, Any]) -> datetime:
    """Return the last cutoff, naive UTC, from the facts of `cutoffs`."""
    return max(_cutoffs(facts))


def write_features(
    examples: Path, events: BucketEvents, market: Market, out: Path, settings: FeatureSettings, *, memory_mb: int = 2048
) -> tuple[int, str]:
    """Write one bucket's examples with their features, in the order of (cutoff, shopper, product).

    Args:
        examples: Parquet file with at least EXAMPLE_COLUMNS.
        events: clean events of at least the same shoppers.
        market: counted at least for the cutoffs of the examples, over all buckets.
        out: Parquet file to write.

    Returns:
        The number of rows and the hash of the rows.
    """
    connection = connect(memory_mb=memory_mb)
    connection.execute(f"CREATE VIEW examples AS SELECT * FROM read_parquet({quote(examples)})")
    events.create_view(connection, "stored")
    # What is fitted on the train period is applied on reading, which several queries would do again and again.
    connection.execute("CREATE TABLE events AS SELECT * FROM stored")
    compute_features(connection, settings, market)
    write_parquet(connection, "SELECT * FROM result ORDER BY cutoff, shopper, product_id", out)
    return _row_count(connection, out), hash_rows(connection, out)


def compute_features(
    connection: duckdb.DuckDBPyConnection, settings: FeatureSettings, market: Market | FrozenMarket
) -> None:
    """Make the table `result`: the rows of `examples` with their features, in no particular order.

    Args:
        connection: has `examples` with EXAMPLE_COLUMNS, and the table `events` of clean events, which is used up.
        settings: what the features depend on.
        market: counted at least for the cutoffs of the examples.
    """
    link_events(connection, settings.timezone)
    chosen, begun = settings.features(), False
    for _ in open_cutoffs(connection, settings, market):
        query = _compute(connection, chosen)
        connection.execute(f"INSERT INTO result {query}" if begun else f"CREATE TABLE result AS {query}")
        begun = True
    if not begun:
        columns = [*EXAMPLE_COLUMNS, *(f"CAST(NULL AS {_type(f)}) AS {f.name}" for f in chosen)]
        connection.execute(f"CREATE TABLE result AS SELECT {', '.join(columns)} FROM examples LIMIT 0")


def _compute(connection: duckdb.DuckDBPyConnection, features: Sequence[Feature]) -> str:
    """Return the query of the examples of the cutoffs that are open, with their features."""
    joins = []
    for level in dict.fromkeys(feature.over for feature in features):
        words = ", ".join(f"{f.sql} AS {f.name}" for f in features if f.over == level)
        key, grouped = ("example", "") if level == "product" else ("m", "GROUP BY m")
        # A table of its own: one query over all levels takes DuckDB's planner longer than the work.
        connection.execute(f"CREATE OR REPLACE TABLE of_{level} AS SELECT {key}, {words} FROM {level}_at {grouped}")
        joins.append(f"JOIN of_{level} USING ({key})")
    kept = ", ".join(f"x.{name}" for name in EXAMPLE_COLUMNS)
    made = ", ".join(f"CAST(of_{f.over}.{f.name} AS {_type(f)}) AS {f.name}" for f in features)
    return f"""
        SELECT {kept}, {made}
        FROM (
            SELECT x.*, m FROM examples AS x JOIN people USING (shopper)
            JOIN moments ON moments.s = people.s AND moments.cutoff = x.cutoff
        ) AS x {" ".join(joins)}
    """


def _type(feature: Feature) -> str:
    return "VARCHAR" if feature.categorical else "DOUBLE"


def _work_bucket(bucket: _Bucket) -> tuple[int, str]:
    return write_features(
        bucket.examples, bucket.events, bucket.market, bucket.out, bucket.settings, memory_mb=bucket.memory_mb
    )


def _row_count(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    row = connection.execute(f"SELECT count(*) FROM read_parquet({quote(path)})").fetchone()
    return int(row[0]) if row else 0
