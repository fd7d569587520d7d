"""Sales as a forecast reads them: clean events and a past in; pieces by product and past horizon out.

Where a champion tells what a candidate is, each window also says which of its purchases came from pairs of shopper and
product that were no candidates when it began. The one thing to know: whole thousandths are added, so neither buckets
nor order matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from behavior_tasks.base.config import EngineConfig, ExamplesConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.tables import bucket_file, bucket_files, connect, parquet_sql, write_parquet
from behavior_tasks.base.timeline import Window
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.examples.candidates import examples_sql
from behavior_tasks.examples.feature_sql import UNKNOWN
from behavior_tasks.serve.demand_windows import Past, SalesWindow, Windows, exposures, lay_windows
from behavior_tasks.serve.moment import Moment

MILLI = 1000
"""Pieces are added as whole thousandths."""
SHOWN_LETTERS = 200
"""Most letters of a product's name that are kept."""
SUMS = ("units", "buyers", "squares")
"""What is added up of a product in a window."""


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """The part of the sales to shoppers for whom the product was no candidate when the window began, each (P, B)."""

    units: np.ndarray
    buyers: np.ndarray
    squares: np.ndarray


@dataclass(frozen=True, kw_only=True)
class History:
    """Sales before a moment by product (P rows, in the order of their ids) and window (B columns, oldest first)."""

    products: pd.DataFrame
    """product_id, category (`unknown` where there is none), product_name, price (of one piece, the newest; NaN),
    first (instant of the first event)."""
    starts: tuple[Moment, ...]
    """Where each window begins, and last the moment itself, where the window that is forecast begins: B + 1."""
    horizon_days: int
    units: np.ndarray
    """Pieces sold, (P, B)."""
    buyers: np.ndarray
    """Shoppers who bought the product, (P, B)."""
    squares: np.ndarray
    """Sum over those shoppers of their pieces squared, (P, B)."""
    unseen: Unseen | None
    """None: without a champion nobody is a candidate."""
    exposure: np.ndarray
    """Share of each window in which the product was there, (P, B)."""
    seasonal: np.ndarray
    """Pieces in the window `season_days` before each start, (P, B + 1); NaN where the log does not reach so far."""
    season_days: int

    @property
    def windows(self) -> int:
        """How many windows there are, at least one; what begins at `windows` is forecast."""
        return self.units.shape[1]


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    events: BucketEvents
    cutoff: datetime
    sold: tuple[SalesWindow, ...]
    candidates: str | None
    net: bool
    sales: Path
    products: Path
    memory_mb: int


def read_history(events: Sequence[BucketEvents], past: Past, folder: Path, *, engine: EngineConfig) -> History:
    """Read the sales before a moment.

    Args:
        events: what `open_events` gives for the clean events: all buckets.
        past: which of it is read.
        folder: an empty folder for scratch files.
        engine: who reads.
    """
    windows = lay_windows(past)
    for name in ("sales", "products"):
        (folder / name).mkdir(parents=True)
    jobs = [
        _Bucket(
            events=bucket.until(past.moment.cutoff),
            cutoff=past.moment.cutoff,
            sold=windows.sold,
            candidates=_candidates_sql(windows.starts[:-1], past.examples) if past.examples else None,
            net=past.net,
            sales=bucket_file(folder / "sales", number),
            products=bucket_file(folder / "products", number),
            memory_mb=engine.memory_mb,
        )
        for number, bucket in enumerate(events)
    ]
    run_buckets(_read_bucket, jobs, engine=engine, what="sales")
    with connect(memory_mb=engine.memory_mb) as connection:
        products = _products(connection, folder / "products")
        sales = _sales(connection, folder / "sales")
    return _history(past, windows, products, sales)


def _history(past: Past, windows: Windows, products: pd.DataFrame, sales: pd.DataFrame) -> History:
    """Return the sums of all buckets, a row a product and a column a window."""
    place = pd.Series(np.arange(len(products)), index=products["product_id"])
    sales = sales.assign(place=place.loc[sales["product_id"]].to_numpy())
    plain, seasonal = (sales[sales["kind"] == kind] for kind in ("plain", "season"))
    size = (len(products), len(windows.starts) - 1)
    lagged = np.full((size[0], size[1] + 1), np.nan)
    lagged[:, [window.number for window in windows.sold if window.kind == "season"]] = 0.0
    lagged[seasonal["place"], seasonal["number"]] = seasonal["units"]
    sums = {name: _matrix(plain, name, size) for name in SUMS}
    unseen = {name: _matrix(plain, f"unseen_{name}", size) for name in SUMS}
    return History(
        products=products,
        starts=windows.starts,
        horizon_days=past.horizon_days,
        **sums,
        unseen=Unseen(**unseen) if past.examples else None,
        exposure=exposures(products["first"], windows.starts, past.first),
        seasonal=lagged,
        season_days=windows.season_days,
    )


def _candidates_sql(starts: Sequence[Moment], examples: ExamplesConfig) -> str:
    windows = [Window(split="test", cutoff=start.cutoff, end=start.cutoff) for start in starts]
    return examples_sql(windows, examples, timezone=starts[0].timezone, has_amounts=False)


def _read_bucket(bucket: _Bucket) -> None:
    with connect(memory_mb=bucket.memory_mb) as connection:
        bucket.events.create_view(connection, "stored")
        connection.execute(f"""
            CREATE TABLE events AS
            SELECT shopper, timestamp, action, product_id, quantity, price, amount, category,
                   product_name
            FROM stored WHERE timestamp < TIMESTAMP '{bucket.cutoff}' AND product_id <> ''
        """)
        # Of many events in one instant the largest word counts, so that their order plays no part.
        write_parquet(
            connection,
            f"""
            SELECT product_id, min(timestamp) AS first,
                   {_newest(f"category IS NOT NULL AND category NOT IN ('', '{UNKNOWN}')", "category")} AS category,
                   {_newest("product_name <> ''", f"left(product_name, {SHOWN_LETTERS})")} AS product_name,
                   {_newest("action = 'purchase' AND price > 0", "price")} AS price
            FROM events GROUP BY product_id ORDER BY product_id
            """,
            bucket.products,
        )
        write_parquet(connection, _sales_sql(bucket), bucket.sales)


def _newest(condition: str, value: str) -> str:
    return f"max({{'at': timestamp, 'value': {value}}}) FILTER ({condition})"


def _sales_sql(bucket: _Bucket) -> str:
    rows = ", ".join(
        f"('{kind}', {number}, TIMESTAMP '{start}', TIMESTAMP '{end}')" for kind, number, start, end in bucket.sold
    )
    candidates = bucket.candidates or "SELECT NULL AS shopper, NULL AS product_id, NULL AS cutoff WHERE false"
    milli = f"CAST(round(coalesce(quantity, 1) * {MILLI}) AS BIGINT)"
    given_back = f"WHEN 'return' THEN -{milli}" if bucket.net else ""
    return f"""
        WITH windows(kind, number, start, finish) AS (VALUES {rows}),
        candidates AS ({candidates}),
        pairs AS (
            SELECT w.kind, w.number, w.start, e.shopper, e.product_id,
                   greatest(0, sum(CASE e.action WHEN 'purchase' THEN {milli} {given_back} ELSE 0 END)) AS milli
            FROM events AS e JOIN windows AS w ON e.timestamp >= w.start AND e.timestamp < w.finish
            WHERE e.action IN ('purchase', 'return')
            GROUP BY ALL HAVING bool_or(e.action = 'purchase')
        )
        SELECT kind, number, product_id, {_sums_sql("", "true")}, {_sums_sql("unseen_", "unseen")}
        FROM (
            SELECT p.*, CAST(round(p.milli * (p.milli / {MILLI})) AS BIGINT) AS square, c.shopper IS NULL AS unseen
            FROM pairs AS p LEFT JOIN candidates AS c
                ON c.shopper = p.shopper AND c.product_id = p.product_id AND c.cutoff = p.start
        )
        GROUP BY kind, number, product_id ORDER BY kind, number, product_id
    """


def _sums_sql(prefix: str, condition: str) -> str:
    """SQL of what is added up over the buyers of whom a condition holds."""
    return f"""
        count(*) FILTER ({condition}) AS {prefix}buyers,
        CAST(coalesce(sum(milli) FILTER ({condition}), 0) AS BIGINT) AS {prefix}units,
        CAST(coalesce(sum(square) FILTER ({condition}), 0) AS BIGINT) AS {prefix}squares
    """


def _products(connection: duckdb.DuckDBPyConnection, folder: Path) -> pd.DataFrame:
    merged = connection.execute(f"""
        SELECT product_id, min(first) AS first, max(category).value AS category,
               max(product_name).value AS product_name, max(price).value AS price
        FROM {parquet_sql(bucket_files(folder))} GROUP BY product_id ORDER BY product_id
    """).df()
    merged["category"] = merged["category"].astype(object).where(merged["category"].notna(), UNKNOWN)
    merged["price"] = merged["price"].astype(float)
    return merged


def _sales(connection: duckdb.DuckDBPyConnection, folder: Path) -> pd.DataFrame:
    thousandths = [f"{prefix}{name}" for prefix in ("", "unseen_") for name in ("units", "squares")]
    names = (*thousandths, "buyers", "unseen_buyers")
    added = ", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in names)
    found = connection.execute(f"""
        SELECT kind, number, product_id, {added} FROM {parquet_sql(bucket_files(folder))}
        GROUP BY ALL ORDER BY kind, number, product_id
    """).df()
    found[thousandths] = found[thousandths] / MILLI
    return found


def _matrix(rows: pd.DataFrame, column: str, size: tuple[int, int]) -> np.ndarray:
    matrix = np.zeros(size)
    matrix[rows["place"], rows["number"]] = rows[column]
    return matrix
