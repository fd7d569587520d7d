"""The market: what the whole shop did before each cutoff, for features that one shopper's history can't tell.

In come the clean events by bucket and the cutoffs; out come, for each cutoff, how often every product was touched and
bought in the days before it, and the mean price of every category in the lookback before it. Two phases: every bucket
counts, then the counts are added up as whole numbers, so that the buckets play no part and no sum is approximate.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.tables import bucket_file, connect, quote, write_parquet
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.examples.feature_sql import UNITS, UNKNOWN

POPULARITY_DAYS = 30
"""Days before the cutoff in which events make a product popular; fewer where the lookback is shorter."""


@dataclass(frozen=True, kw_only=True)
class Market:
    """The folder with the facts of every cutoff."""

    folder: Path

    def files(self, cutoff: datetime) -> tuple[Path, Path]:
        """Return the files of a cutoff: its products, its categories."""
        return _file(self.folder, "products", cutoff), _file(self.folder, "categories", cutoff)

    def create_views(self, connection: duckdb.DuckDBPyConnection, cutoffs: Sequence[datetime]) -> None:
        """Make the views of some cutoffs.

        `market_products`: cutoff, product_id, popularity (events), popularity_buys (lines of purchases),
        popularity_place (1 is the most popular; equals share a place), market_size (products), market_events (events
        on them). `market_categories`: cutoff, category, market_price (mean price of one piece, in whole 1 / UNITS).
        """
        for what in ("products", "categories"):
            files = ", ".join(quote(_file(self.folder, what, cutoff)) for cutoff in cutoffs)
            connection.execute(f"CREATE OR REPLACE VIEW market_{what} AS SELECT * FROM read_parquet([{files}])")


@dataclass(frozen=True, kw_only=True)
class FrozenMarket:
    """The facts of one cutoff, which stand for every instant: what a model that scores by itself knows of the shop."""

    products: str
    """What can stand after FROM, with the rows of `market_products`."""
    categories: str

    def create_views(self, connection: duckdb.DuckDBPyConnection, cutoffs: Sequence[datetime]) -> None:
        """Make the views that `Market.create_views` makes."""
        every = ", ".join(f"(TIMESTAMP '{cutoff}')" for cutoff in cutoffs)
        for what, relation in (("products", self.products), ("categories", self.categories)):
            connection.execute(f"""CREATE OR REPLACE VIEW market_{what} AS
                SELECT asked.cutoff, held.* EXCLUDE (cutoff)
                FROM {relation} AS held CROSS JOIN (VALUES {every}) AS asked(cutoff)""")


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    events: BucketEvents
    cutoffs: tuple[datetime, ...]
    lookback_days: int
    folder: Path
    number: int
    memory_mb: int


def count_market(
    events: Sequence[BucketEvents],
    cutoffs: Sequence[datetime],
    folder: Path,
    *,
    lookback_days: int,
    engine: EngineConfig,
) -> Market:
    """Count the market before each cutoff.

    Args:
        events: what `open_events` gives for the clean events: all of them, not one bucket alone.
        cutoffs: instants, naive UTC.
        folder: an empty folder that the facts, and for a while the buckets' counts, are written into.
        lookback_days: as for the features.
        engine: who counts, and with how much memory.
    """
    chosen = tuple(sorted(set(cutoffs)))
    parts = [folder / "parts" / what for what in ("products", "categories")]
    for part in parts:
        part.mkdir(parents=True)
    jobs = [
        _Bucket(
            events=bucket,
            cutoffs=chosen,
            lookback_days=lookback_days,
            folder=folder / "parts",
            number=number,
            memory_mb=engine.memory_mb,
        )
        for number, bucket in enumerate(events)
    ]
    run_buckets(_count_bucket, jobs, engine=engine, what="market")
    with connect(memory_mb=engine.memory_mb) as connection:
        for cutoff in chosen:
            for what, query in (("products", _PRODUCTS), ("categories", _CATEGORIES)):
                counted = f"SELECT * FROM read_parquet({quote(folder / 'parts' / what / '*.parquet')})"
                source = f"({counted} WHERE cutoff = TIMESTAMP '{cutoff}')"
                write_parquet(connection, query.format(source=source), _file(folder, what, cutoff))
    shutil.rmtree(folder / "parts")
    return Market(folder=folder)


_PRODUCTS = """
    WITH added AS (
        SELECT cutoff, product_id, CAST(sum(events) AS BIGINT) AS popularity,
               CAST(sum(buys) AS BIGINT) AS popularity_buys
        FROM {source} GROUP BY cutoff, product_id
    )
    SELECT *, rank() OVER (ORDER BY popularity DESC) AS popularity_place, count(*) OVER () AS market_size,
           CAST(sum(popularity) OVER () AS BIGINT) AS market_events
    FROM added ORDER BY product_id
"""
_CATEGORIES = """
    SELECT cutoff, category, CAST((2 * sum(price_units) + sum(prices)) // (2 * sum(prices)) AS BIGINT) AS market_price
    FROM {source} GROUP BY cutoff, category ORDER BY category
"""
"""The mean, rounded to a whole number by whole numbers alone."""


def _count_bucket(bucket: _Bucket) -> None:
    connection = connect(memory_mb=bucket.memory_mb)
    bucket.events.create_view(connection, "stored")
    connection.execute("CREATE TABLE events AS SELECT timestamp, action, product_id, category, price FROM stored")
    popular = timedelta(days=min(POPULARITY_DAYS, bucket.lookback_days))
    lookback = timedelta(days=bucket.lookback_days)
    rows = ", ".join(
        f"(TIMESTAMP '{at}', TIMESTAMP '{at - popular}', TIMESTAMP '{at - lookback}')" for at in bucket.cutoffs
    )
    connection.execute(f"CREATE TABLE windows AS SELECT * FROM (VALUES {rows}) AS w(cutoff, popular_from, known_from)")
    joined = "FROM events AS e JOIN windows AS w ON e.timestamp < w.cutoff AND e.timestamp >= "
    write_parquet(
        connection,
        f"""
        SELECT w.cutoff, e.product_id, count(*) AS events, count(*) FILTER (e.action = 'purchase') AS buys
        {joined} w.popular_from WHERE e.product_id <> ''
        GROUP BY w.cutoff, e.product_id ORDER BY w.cutoff, e.product_id
        """,
        bucket_file(bucket.folder / "products", bucket.number),
    )
    # Parquet knows no whole number as wide as a sum's own type, and would keep it as a rounded one.
    write_parquet(
        connection,
        f"""
        SELECT w.cutoff, e.category, count(*) AS prices,
               CAST(sum(CAST(round(e.price * {UNITS}) AS BIGINT)) AS BIGINT) AS price_units
        {joined} w.known_from WHERE e.category <> '{UNKNOWN}' AND e.price IS NOT NULL
        GROUP BY w.cutoff, e.category ORDER BY w.cutoff, e.category
        """,
        bucket_file(bucket.folder / "categories", bucket.number),
    )


def _file(folder: Path, what: str, cutoff: datetime) -> Path:
    return folder / f"{what}-{cutoff:%Y%m%dT%H%M%S%f}.parquet"
